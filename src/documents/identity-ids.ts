/** Device and module ids: case-sensitive, 1 to 128 characters of this set (hub-service.md 2.2). */
const IDENTITY_ID = /^[A-Za-z0-9\-:.+%_#*?!(),=@;$']{1,128}$/

export const isIdentityId = (text: string): boolean => IDENTITY_ID.test(text)

/** What a complaint about an id says was expected. */
export const IDENTITY_ID_RULE = "1 to 128 characters of A-Z a-z 0-9 - : . + % _ # * ? ! ( ) , = @ ; $ '"

/** The modules that the Edge runtime itself consists of (hub-service.md 2.5). */
export const SYSTEM_MODULES = ['$edgeAgent', '$edgeHub'] as const

export const isSystemModule = (moduleId: string): boolean => SYSTEM_MODULES.some((name) => name === moduleId)

const SCOPE_PREFIX = 'ms-azure-iot-edge://'

/** The scope of an Edge device: `ms-azure-iot-edge://{deviceId}-{generationId}` (hub-service.md 2.5). */
export const edgeScopeOf = (deviceId: string, generationId: string): string =>
  `${SCOPE_PREFIX}${deviceId}-${generationId}`

/** The device that a scope names: what stands before its last dash; undefined when it is not a scope. */
export function deviceOfScope(scope: string): string | undefined {
  const dash = scope.lastIndexOf('-')
  const deviceId =
    scope.startsWith(SCOPE_PREFIX) && dash > SCOPE_PREFIX.length ? scope.slice(SCOPE_PREFIX.length, dash) : ''
  return isIdentityId(deviceId) ? deviceId : undefined
}
