import { quoted } from './command'

/** The request of the form as a curl command that does the same. */
export function curl(body: object, kind: 'bundle' | 'json', path: string, origin: string, file = 'code.zip'): string {
  const lines = [`curl -sS --fail-with-body ${quoted(origin + path)}`, `-H "Authorization: Bearer $PEERGPU_TOKEN"`]
  const json = JSON.stringify(body)
  if (kind === 'bundle') {
    lines.push(`-F ${quoted(`job=${part(json)};type=application/json`)}`, `-F ${quoted(`bundle=@${part(file)};type=application/zip`)}`)
  } else {
    lines.push(`-H 'Content-Type: application/json'`, `-d ${quoted(json)}`)
  }
  return lines.join(' \\\n  ')
}

/** A value as curl's -F reads it, which ends at a semicolon or a comma unless it is quoted. */
const part = (text: string) => (/^[\w@%+=:./-]+$/.test(text) ? text : `"${text.replace(/["\\]/g, String.raw`\$&`)}"`)
