/**
 * The one table of error codes. The six digits are domain words: they travel in HTTP bodies, MQTT topics and AMQP
 * properties alike, and their first three are the HTTP status. Numbers up to x09999 and names are the hub's
 * (hub-device.md 6.2, hub-service.md 12). Numbers x..2xx are the provisioning service's: 400207-400209, 404201,
 * 409203 were observed and fall exactly where the service's own list of names (hub-service.md 12.3) puts them, so
 * the rest of each run is numbered by that list (unverified).
 */
export const codes = {
  400000: 'GenericBadRequest',
  400001: 'InvalidProtocolVersion',
  400003: 'InvalidOperation',
  400004: 'ArgumentInvalid',
  400005: 'ArgumentNull',
  400006: 'IotHubFormatError',
  400011: 'DeviceDefinedMultipleTimes',
  400012: 'DeserializationError',
  400027: 'ConnectionForcefullyClosedOnNewConnection',
  400028: 'InvalidDeviceScope',
  400201: 'InvalidEndorsementKey',
  400202: 'InvalidRegistrationId',
  400203: 'InvalidStorageRootKey',
  400204: 'InvalidEnrollmentGroupId',
  400205: 'TooManyEnrollments',
  400206: 'RegistrationIdDefinedMultipleTimes',
  400207: 'CustomAllocationFailed',
  400208: 'CustomAllocationIotHubNotSpecified',
  400209: 'CustomAllocationUnauthorizedAccess',
  400301: 'CannotRegisterModuleToModule',
  401000: 'GenericUnauthorized',
  401001: 'IotHubNotFound',
  401002: 'IotHubUnauthorizedAccess',
  401003: 'IotHubUnauthorized',
  401100: 'SystemModuleModifyUnauthorizedAccess',
  403000: 'GenericForbidden',
  403002: 'IotHubQuotaExceeded',
  403012: 'DeviceDisabled',
  404000: 'GenericNotFound',
  404001: 'DeviceNotFound',
  404008: 'CertificateNotFound',
  404010: 'ModuleNotFound',
  404013: 'FeatureNotSupported',
  404201: 'EnrollmentNotFound',
  404203: 'AsyncOperationNotFound',
  404204: 'EnrollmentGroupNotFound',
  405000: 'GenericMethodNotAllowed',
  409000: 'GenericConflict',
  409001: 'DeviceAlreadyExists',
  409201: 'EnrollmentConflict',
  409202: 'EnrollmentGroupConflict',
  409203: 'RegistrationStatusConflict',
  409301: 'ModuleAlreadyExistsOnDevice',
  412000: 'GenericPreconditionFailed',
  412001: 'PreconditionFailed',
  413000: 'GenericRequestEntityTooLarge',
  413001: 'MessageTooLarge',
  413002: 'TooManyDevices',
  413003: 'TooManyModulesOnDevice',
  415000: 'GenericUnsupportedMediaType',
  429001: 'ThrottlingException',
  500001: 'ServerError',
  503001: 'ServiceUnavailable',
  503005: 'ServerBusy',
} as const

export type Code = keyof typeof codes

/** A refusal with the real service's code. `message` is for the caller; `cause` is logged and never told. */
export class ServiceError extends Error {
  readonly code: Code
  /** Seconds after which the caller may try again; rendered as Retry-After, `retry-after` or an info map. */
  readonly retryAfter: number | undefined

  constructor(code: Code, message: string, options: { cause?: unknown; retryAfter?: number } = {}) {
    super(message, 'cause' in options ? { cause: options.cause } : {})
    this.name = 'ServiceError'
    this.code = code
    this.retryAfter = options.retryAfter
  }

  /** HTTP status: the first three digits. */
  get status(): number {
    return statusOf(this.code)
  }
}

export const statusOf = (code: Code): number => Math.floor(code / 1000)

/** Whatever was thrown, as a ServiceError: an unexpected fault becomes 500001 with its cause kept for the log. */
export function asServiceError(thrown: unknown): ServiceError {
  if (thrown instanceof ServiceError) return thrown
  return new ServiceError(500001, 'An internal error occurred. Its cause is in the log under this tracking ID.', {
    cause: thrown,
  })
}

/** For the last arm of a switch over a closed set: the compiler proves it is never reached, the process refuses if it is. */
export function unknownVariant(what: string, value: never): never {
  throw new ServiceError(400004, `Unknown ${what}: ${JSON.stringify(value)}.`)
}
