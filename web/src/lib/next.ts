// What a path must not begin with, or contain: browsers read a backslash as a slash and
// drop control characters, and "//host" is another site.
const elsewhere = /^[^/]|^\/[/\\]|[\p{Cc}\\]/u

/** The place to go to after signing in, if it is one of this site; else undefined. */
export function safeNext(raw: unknown): string | undefined {
  if (typeof raw !== 'string' || raw === '' || elsewhere.test(raw)) return undefined
  const here = 'https://here.invalid'
  try {
    const url = new URL(raw, here)
    return url.origin === here ? url.pathname + url.search + url.hash : undefined
  } catch {
    return undefined
  }
}
