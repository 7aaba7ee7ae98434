/** A TPM that cannot be reached, or that refused. The message is for the user. */
export class TpmDeviceError extends Error {
  constructor(message: string, options: { cause?: unknown } = {}) {
    super(message, 'cause' in options ? { cause: options.cause } : {})
    this.name = 'TpmDeviceError'
  }
}
