import { limits } from '../base/limits.ts'

const LABEL = '[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?'
const HOST = new RegExp(`^(${LABEL}(\\.${LABEL})*|\\[[0-9a-f:.]+\\])(:[0-9]{1,5})?$`)

/** A host name or address, with or without `:port`, in lower case; undefined where the text is none. */
export function hostName(text: string): string | undefined {
  const lower = text.toLowerCase()
  if (lower.length > limits.hostNameLength || !HOST.test(lower)) return undefined
  const port = /\]?:([0-9]+)$/.exec(lower)?.[1]
  return port === undefined || (Number(port) > 0 && Number(port) < 65_536) ? lower : undefined
}

/** `hub.example:8883` -> `hub.example`; brackets of an IPv6 address stay. */
export const withoutPort = (host: string): string => (/^[^:]+:|\]:/.test(host) ? host.replace(/:[0-9]*$/, '') : host)

/** The port that `host` names, if it does. */
export function portOf(host: string): number | undefined {
  const bare = withoutPort(host)
  return bare.length < host.length ? Number(host.slice(bare.length + 1)) : undefined
}

/** Whether one of `names` is `host`, ports and letter case aside. */
export const isNamed = (names: readonly string[], host: string): boolean =>
  names.some((name) => withoutPort(name) === withoutPort(host.toLowerCase()))

/**
 * The instance that answers to `host`: by the full name, else by the name without its port where that is unambiguous.
 */
export function findByHost<T>(instances: readonly T[], namesOf: (instance: T) => readonly string[], host: string) {
  const wanted = host.toLowerCase()
  const exact = instances.find((instance) => namesOf(instance).includes(wanted))
  if (exact !== undefined) return exact
  const loose = instances.filter((instance) => isNamed(namesOf(instance), wanted))
  return loose.length === 1 ? loose[0] : undefined
}

/**
 * Whether a connection string's host means the instance with these names. Unlike a request, which may come through a
 * mapped port, another port is another installation here.
 */
export const isLinkTo = (names: readonly string[], host: string): boolean =>
  names.some((name) => {
    const [bareName, bareHost] = [withoutPort(name), withoutPort(host)]
    return name === host || (bareName === bareHost && (name === bareName || host === bareHost))
  })
