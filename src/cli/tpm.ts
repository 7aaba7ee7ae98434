import { systemClock } from '../base/clock.ts'
import { compact } from '../base/json.ts'
import type { TpmDevice } from '../tpm-device/keys.ts'
import { type Environment, refused, usage } from './environment.ts'
import { answerOptions } from './options.ts'
import { type Answering, print } from './output.ts'
import type { Register } from './program.ts'

interface Options extends Answering {
  readonly device?: string
  readonly create?: boolean
}

/** `muster tpm`: what an enrollment needs to know of the TPM of this machine. */
export const tpmCommand: Register = (program, environment) => {
  answerOptions(program.command('tpm'))
    .description('print the registration ID and the endorsement key of a TPM')
    .option(
      '-d, --device <address>',
      '/dev/<file>, tcp:<host>:<port>, unix:<path> (both swtpm) or mssim:<host>:<port> (default: /dev/tpmrm0, else /dev/tpm0)',
    )
    .option('--create', 'make the keys that the TPM does not hold yet, from the TCG template, and keep them in the TPM')
    .addHelpText(
      'after',
      '\nOne TPM gives another endorsement key to each SDK that comes first, so enroll the key that it holds already.',
    )
    .action((options: Options) => printTpm(options, environment))
}

async function printTpm({ device, create = false, ...answering }: Options, environment: Environment): Promise<void> {
  const { openTpm, parseTpmAddress, TPM_ADDRESS_RULE } = await import('../tpm-device/transport.ts')
  const { tpmDevice } = await import('../tpm-device/keys.ts')
  const name = device ?? (await foundDevice())
  const address = parseTpmAddress(name)
  if (address === undefined) throw usage(`Expected --device as ${TPM_ADDRESS_RULE}, found ${JSON.stringify(name)}.`)
  const transport = await openTpm(address, environment.clock ?? systemClock).catch(toRefusal(name))
  try {
    const tpm = await tpmDevice(transport).catch(toRefusal(name))
    const document = await describe(tpm, create).catch(toRefusal(name))
    await print(environment, answering, document, {
      'Registration ID': 'registrationId',
      'Endorsement key': 'endorsementKey',
      'Made from': 'endorsementKeyTemplate',
      'As by': 'templateUsedBy',
    })
  } finally {
    await transport.close()
  }
}

async function describe(tpm: TpmDevice, create: boolean): Promise<object> {
  const { registrationIdOf } = await import('../tpm-device/keys.ts')
  const { endorsementKey, storageRootKey } = await tpm.keys(create)
  if (endorsementKey === undefined)
    throw refused(
      'The TPM holds no endorsement key at 0x81010001 yet. Start the software of the device once, so that it makes its own, or make one with --create.',
    )
  const template = await tpm.templateOf(endorsementKey)
  return compact({
    registrationId: registrationIdOf(endorsementKey),
    endorsementKey: endorsementKey.toString('base64'),
    storageRootKey: storageRootKey?.toString('base64'),
    endorsementKeyTemplate: template?.name ?? 'none of the three that SDKs use',
    templateUsedBy: template?.usedBy,
  })
}

async function foundDevice(): Promise<string> {
  const { existsSync } = await import('node:fs')
  const { DEVICE_FILES } = await import('../tpm-device/transport.ts')
  const found = DEVICE_FILES.find((path) => existsSync(path))
  if (found !== undefined) return found
  throw refused(
    `This machine shows no TPM (${DEVICE_FILES.join(', ')}). Name one with --device, such as tcp:127.0.0.1:2321 for swtpm.`,
  )
}

const toRefusal =
  (name: string) =>
  async (error: unknown): Promise<never> => {
    const { TpmDeviceError } = await import('../tpm-device/error.ts')
    if (error instanceof TpmDeviceError) throw refused(`${name}: ${error.message}.`, error)
    throw error
  }
