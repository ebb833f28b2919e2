import { quoted } from './command'

/** The request of the form as a curl command that does the same. */
export function curl(body: object, kind: 'bundle' | 'json', path: string, origin: string, file = 'code.zip'): string {
  const lines = [`curl -sS --fail-with-body ${quoted(origin + path)}`, `-H "Authorization: Bearer $PEERGPU_TOKEN"`]
  const json = JSON.stringify(body)
  if (kind === 'bundle') {
    lines.push(`-F ${quoted(`job=${json};type=application/json`)}`, `-F ${quoted(`bundle=@${file};type=application/zip`)}`)
  } else {
    lines.push(`-H 'Content-Type: application/json'`, `-d ${quoted(json)}`)
  }
  return lines.join(' \\\n  ')
}
