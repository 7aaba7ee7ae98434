import { createRequire } from 'node:module'
import { connect, type Socket } from 'node:net'
import { promisify } from 'node:util'

// A device in a process of its own, with the unmodified azure-iot-security-tpm and tss.js: a failed activation is an
// uncaught TypeError in them, which ends the process (attestation-crypto.md A6). Started by node-sdk.test.ts.

export interface DeviceJob {
  /** Where the packages are installed. */
  readonly packages: string
  readonly tpmPort: number
  readonly do: 'show' | 'register'
  readonly registrationId?: string
  readonly hostName?: string
  readonly idScope?: string
  /** Flips a bit of the credential on its way into the TPM. */
  readonly tamper?: boolean
}

const job = JSON.parse(process.argv[2] ?? '{}') as DeviceJob
const load = createRequire(`${job.packages}/`)

/** The data port of swtpm as a device of tss.js: one socket; connect is asked for again after errors. */
class RawDevice {
  socket: Socket | undefined
  received = Buffer.alloc(0)
  waiting: ((error: unknown, answer?: Buffer) => void) | undefined

  connect(done: (error?: unknown) => void): void {
    if (this.socket !== undefined) {
      setImmediate(done)
      return
    }
    this.socket = connect(job.tpmPort, '127.0.0.1', () => done())
    this.socket.on('data', (chunk: Buffer) => this.take(chunk))
  }

  dispatchCommand(command: Buffer, done: (error: unknown, answer?: Buffer) => void): void {
    const ACTIVATE_CREDENTIAL = 0x147
    if (job.tamper && command.readUInt32BE(6) === ACTIVATE_CREDENTIAL) command[60] = (command[60] ?? 0) ^ 1
    this.waiting = done
    this.socket?.write(command)
  }

  take(chunk: Buffer): void {
    this.received = Buffer.concat([this.received, chunk])
    if (this.received.length < 6 || this.received.length < this.received.readUInt32BE(2)) return
    const answer = this.received
    this.received = Buffer.alloc(0)
    setImmediate(() => this.waiting?.(null, answer))
  }

  close(): void {
    this.socket?.end()
    this.socket = undefined
  }
}

const { Tpm } = load('tss.js')
const { TpmAuthenticationProvider, TpmSecurityClient } = load('azure-iot-security-tpm')
const tpm = new Tpm(false)
tpm.device = new RawDevice()
const security = new TpmSecurityClient(job.registrationId, tpm)

async function show(): Promise<object> {
  const ask = (name: string): Promise<Buffer> => promisify(security[name].bind(security))() as Promise<Buffer>
  return {
    endorsementKey: (await ask('getEndorsementKey')).toString('base64'),
    storageRootKey: (await ask('getStorageRootKey')).toString('base64'),
    registrationId: (await ask('getRegistrationId')).toString(),
  }
}

/** Registers, then connects to the hub with the key that the TPM now holds, and sends a message. */
async function register(): Promise<object> {
  const { ProvisioningDeviceClient } = load('azure-iot-provisioning-device')
  const { Http } = load('azure-iot-provisioning-device-http')
  const client = ProvisioningDeviceClient.create(job.hostName, job.idScope, new Http(), security)
  // For TPMs alone the client answers with the whole operation status.
  const { assignedHub, deviceId } = (await client.register()).registrationState
  const { Client, Message } = load('azure-iot-device')
  const { Mqtt } = load('azure-iot-device-mqtt')
  const provider = TpmAuthenticationProvider.fromTpmSecurityClient(deviceId, assignedHub, security)
  const device = Client.fromAuthenticationProvider(provider, Mqtt)
  await device.open()
  await device.sendEvent(new Message(JSON.stringify({ hello: deviceId })))
  await device.close()
  return { assignedHub, deviceId }
}

process.stdout.write(JSON.stringify(job.do === 'show' ? await show() : await register()))
process.exit(0)
