/** What an MQTT user name of a registering device says (dps.md 2.2), nothing of it verified. */
export interface DpsUsername {
  readonly idScope: string
  readonly registrationId: string
  readonly apiVersion: string
}

/**
 * `{idScope}/registrations/{registrationId}/api-version=…`, in most SDKs with `&ClientVersion=…`, which C does not
 * encode; further parameters are ignored. Undefined: not of that form.
 */
export function parseDpsUsername(username: string): DpsUsername | undefined {
  const [, idScope, registrationId, apiVersion] =
    /^([^/]+)\/registrations\/([^/]+)\/api-version=([^&]*)(?:&|$)/i.exec(username) ?? []
  if (!idScope || !registrationId || apiVersion === undefined) return undefined
  return { idScope, registrationId, apiVersion }
}
