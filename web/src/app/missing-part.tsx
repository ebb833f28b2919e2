import { useMutation } from '@tanstack/react-query'
import { useEffect } from 'react'
import { noAnswer } from '@/api/problem'
import { Button } from '@/components/ui/button'
import { Message } from './message'

/** What an error is made to be that stands for a part of the app which did not come. */
export const missing = { name: 'MissingPart', message: 'A part of the page did not come.' }
export const isMissing = (error: unknown) => error instanceof Error && error.name === missing.name

const key = 'peergpu.reloaded'

/** Stands for a page of which a part did not come. After a new build the parts of the
 * old one are gone: then the page is loaded anew, once, so that a server which lacks them
 * does not make it go round in circles. A server that is away costs nobody the page. */
export function MissingPart() {
  const reload = useMutation({
    networkMode: 'always',
    mutationFn: async () => {
      const answer = await fetch('/', { cache: 'no-store' })
      if (!answer.ok) throw noAnswer()
    },
    onSuccess: () => location.reload(),
  })
  const { mutate } = reload
  useEffect(() => {
    if (sessionStorage.getItem(key) === location.href) return
    sessionStorage.setItem(key, location.href)
    mutate()
  }, [mutate])
  return (
    <Message
      title="This page could not be shown"
      action={
        <Button busy={reload.isPending} onClick={() => mutate()}>
          Try again
        </Button>
      }
    >
      {noAnswer().message}
    </Message>
  )
}
