import { readFileSync } from 'node:fs'

/** The package's version, from its own package.json: beside `src` in a checkout, beside `dist` in a release. */
export const version = (
  JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }
).version
