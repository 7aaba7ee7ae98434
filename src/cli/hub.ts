import {
  choiceOption,
  etagOption,
  flagOption,
  hubTargetOptions,
  managementTargetOptions,
  showKeysOption,
  topOption,
} from './options.ts'
import type { Register } from './program.ts'

const deviceId = ['-d, --device-id <id>', 'device ID; upper and lower case differ'] as const

/** `muster hub …`: hubs and their identity registry, under the names of `az iot hub`. */
export const hubCommand: Register = (program, environment) => {
  const hub = program.command('hub').description('IoT hubs and their device identities')
  managementTargetOptions(hub.command('list').description('list hubs')).action(async (options) =>
    (await import('./hubs.ts')).listHubs(options, environment),
  )
  const identity = hub.command('device-identity').description('device identities')
  const identities = () => import('./device-identities.ts')
  hubTargetOptions(identity.command('list').description('list device identities, at most 1000'))
    .addOption(topOption())
    .addOption(flagOption('--ee, --edge-enabled', 'only IoT Edge devices'))
    .addOption(showKeysOption())
    .action(async (options) => (await identities()).listDevices(options, environment))
  hubTargetOptions(identity.command('show').description('show a device identity'))
    .requiredOption(...deviceId)
    .addOption(showKeysOption())
    .action(async (options) => (await identities()).showDevice(options, environment))
  hubTargetOptions(identity.command('create').description('create a device identity'))
    .requiredOption(...deviceId)
    .addOption(
      choiceOption('--am, --auth-method <method>', 'how the device proves who it is', [
        'shared_private_key',
        'x509_thumbprint',
        'x509_ca',
      ]).default('shared_private_key'),
    )
    .option('--pk, --primary-key <base64>', 'symmetric key; without both the hub makes them')
    .option('--sk, --secondary-key <base64>', 'symmetric key; without both the hub makes them')
    .option('--ptp, --primary-thumbprint <hex>', 'SHA-1 or SHA-256 thumbprint of the device’s certificate')
    .option('--stp, --secondary-thumbprint <hex>', 'a second one, for the time of a change')
    .addOption(flagOption('--ee, --edge-enabled', 'IoT Edge device'))
    .addOption(
      choiceOption('--sta, --status <status>', 'whether the device may connect', ['enabled', 'disabled']).default(
        'enabled',
      ),
    )
    .option('--star, --status-reason <text>', 'why it is disabled')
    .addOption(showKeysOption())
    .action(async (options) => (await identities()).createDevice(options, environment))
  hubTargetOptions(identity.command('delete').description('delete a device identity; its live connection is cut'))
    .requiredOption(...deviceId)
    .addOption(etagOption())
    .action(async (options) => (await identities()).deleteDevice(options, environment))
}
