import { type Command, Option } from 'commander'
import type { Environment } from './environment.ts'
import { choiceOption, days, etagOption, flagOption, hubTargetOptions, showKeysOption, topOption } from './options.ts'

/** The words of `muster hub device-identity …` and `muster hub module-identity …`, those of `az iot hub`. */

const KEY_TYPES = ['primary', 'secondary'] as const
const deviceId = ['-d, --device-id <id>', 'device ID; upper and lower case differ'] as const
const moduleId = ['-m, --module-id <id>', 'module ID; upper and lower case differ'] as const

export function deviceIdentityCommands(hub: Command, environment: Environment): void {
  const identity = hub.command('device-identity').description('device identities')
  const devices = () => import('./device-identities.ts')
  const one = (name: string, description: string, under: Command = identity): Command =>
    hubTargetOptions(under.command(name).description(description)).requiredOption(...deviceId)

  hubTargetOptions(identity.command('list').description('list device identities'))
    .addOption(topOption())
    .addOption(flagOption('--ee, --edge-enabled', 'only IoT Edge devices'))
    .addOption(showKeysOption())
    .action(async (options) => (await devices()).listDevices(options, environment))
  one('show', 'show a device identity')
    .addOption(showKeysOption())
    .action(async (options) => (await devices()).showDevice(options, environment))
  stateOptions(certificateOptions(credentialOptions(one('create', 'create a device identity'), 'shared_private_key')))
    .option('--device-scope <scope>', 'scope of the parent, as the parent’s deviceScope has it')
    .addOption(
      new Option('--pd, --set-parent <id>', 'IoT Edge device that becomes its parent').conflicts('deviceScope'),
    )
    .option('--cl, --add-children <ids...>', 'devices that become its children')
    .option('-f, --force', 'also children that have another parent')
    .addOption(showKeysOption())
    .action(async (options) => (await devices()).createDevice(options, environment))
  stateOptions(
    credentialOptions(one('update', 'change a device identity; its live connection is cut where it must be')),
  )
    .addOption(setOption())
    .addOption(etagOption())
    .addOption(showKeysOption())
    .action(async (options) => (await devices()).updateDevice(options, environment))
  one('delete', 'delete a device identity; its live connection is cut')
    .addOption(etagOption())
    .action(async (options) => (await devices()).deleteDevice(options, environment))
  renewOptions(
    hubTargetOptions(identity.command('renew-key').description('renew symmetric keys; live connections are cut')),
  )
    .requiredOption('-d, --device-id <ids...>', 'device IDs; "*" (in quotes): all that have keys')
    .addOption(flagOption('--im, --include-modules', 'the keys of their modules too'))
    .action(async (options) => (await import('./identity-keys.ts')).renewDeviceKeys(options, environment))
  const connectionString = identity.command('connection-string').description('connection strings of devices')
  one('show', 'show the connection string of a device, with its key', connectionString)
    .addOption(keyTypeOption())
    .action(async (options) => (await import('./identity-keys.ts')).showConnectionString(options, environment))
  familyCommands(identity, one, environment)
}

type One = (name: string, description: string, under: Command) => Command

function familyCommands(identity: Command, one: One, environment: Environment): void {
  const families = () => import('./device-families.ts')
  const parent = identity.command('parent').description('the parent of a device below IoT Edge')
  one('show', 'show the parent of a device', parent)
    .addOption(showKeysOption())
    .action(async (options) => (await families()).showParent(options, environment))
  one('set', 'give a device a parent', parent)
    .requiredOption('--pd, --parent-device-id <id>', 'IoT Edge device that becomes its parent')
    .option('-f, --force', 'also if it has another parent')
    .action(async (options) => (await families()).setParent(options, environment))
  const children = identity.command('children').description('the children of an IoT Edge device')
  one('add', 'make devices the children of an IoT Edge device', children)
    .requiredOption('--cl, --child-list <ids...>', 'devices that become its children')
    .option('-f, --force', 'also those that have another parent')
    .action(async (options) => (await families()).addChildren(options, environment))
  one('list', 'list the IDs of the children of an IoT Edge device', children).action(async (options) =>
    (await families()).listChildren(options, environment),
  )
  one('remove', 'take children away from an IoT Edge device', children)
    .option('--cl, --child-list <ids...>', 'children that are to have no parent')
    .option('-a, --remove-all', 'all of its children')
    .action(async (options) => (await families()).removeChildren(options, environment))
}

export function moduleIdentityCommands(hub: Command, environment: Environment): void {
  const identity = hub.command('module-identity').description('module identities of devices')
  const modules = () => import('./module-identities.ts')
  const one = (name: string, description: string, under: Command = identity): Command =>
    hubTargetOptions(under.command(name).description(description))
      .requiredOption(...deviceId)
      .requiredOption(...moduleId)

  hubTargetOptions(identity.command('list').description('list the modules of a device'))
    .requiredOption(...deviceId)
    .addOption(topOption())
    .addOption(showKeysOption())
    .action(async (options) => (await modules()).listModules(options, environment))
  one('show', 'show a module identity')
    .addOption(showKeysOption())
    .action(async (options) => (await modules()).showModule(options, environment))
  certificateOptions(credentialOptions(one('create', 'create a module identity'), 'shared_private_key'))
    .addOption(showKeysOption())
    .action(async (options) => (await modules()).createModule(options, environment))
  credentialOptions(one('update', 'change a module identity; its live connection is cut where it must be'))
    .addOption(setOption())
    .addOption(etagOption())
    .addOption(showKeysOption())
    .action(async (options) => (await modules()).updateModule(options, environment))
  one('delete', 'delete a module identity; its live connection is cut')
    .addOption(etagOption())
    .action(async (options) => (await modules()).deleteModule(options, environment))
  renewOptions(
    hubTargetOptions(identity.command('renew-key').description('renew symmetric keys; live connections are cut')),
  )
    .requiredOption(...deviceId)
    .requiredOption('-m, --module-id <ids...>', 'module IDs; "*" (in quotes): all of the device that have keys')
    .action(async (options) => (await import('./identity-keys.ts')).renewModuleKeys(options, environment))
  const connectionString = identity.command('connection-string').description('connection strings of modules')
  one('show', 'show the connection string of a module, with its key', connectionString)
    .addOption(keyTypeOption())
    .action(async (options) => (await import('./identity-keys.ts')).showConnectionString(options, environment))
}

const AUTH_METHODS = ['shared_private_key', 'x509_thumbprint', 'x509_ca']

/** @param method what an identity has when nothing is said; none for one that exists */
const credentialOptions = (command: Command, method?: string): Command =>
  command
    .addOption(choiceOption('--am, --auth-method <method>', 'how it proves who it is', AUTH_METHODS).default(method))
    .option('--pk, --primary-key <base64>', 'symmetric key; without both the hub makes them')
    .option('--sk, --secondary-key <base64>', 'symmetric key; without both the hub makes them')
    .option('--ptp, --primary-thumbprint <hex>', 'SHA-1 or SHA-256 thumbprint of its certificate')
    .option('--stp, --secondary-thumbprint <hex>', 'a second one, for the time of a change')

const certificateOptions = (command: Command): Command =>
  command
    .addOption(
      new Option(
        '--vd, --valid-days <number>',
        'make a self-signed certificate and take its thumbprint; days of validity, 365 without',
      ).argParser(days),
    )
    .option('--od, --output-dir <folder>', 'where the certificate that is made and its key go (default: this folder)')

const stateOptions = (command: Command): Command =>
  command
    .addOption(flagOption('--ee, --edge-enabled', 'IoT Edge device'))
    .addOption(choiceOption('--sta, --status <status>', 'whether the device may connect', ['enabled', 'disabled']))
    .option('--star, --status-reason <text>', 'why it is disabled')

const setOption = (): Option =>
  new Option('--set <assignments...>', 'PATH=VALUE …, as in status=disabled or capabilities.iotEdge=true')

const keyTypeOption = (): Option =>
  choiceOption('--kt, --key-type <type>', 'which of the two keys', KEY_TYPES).default('primary')

const renewOptions = (command: Command): Command =>
  command
    .addOption(
      choiceOption('--kt, --key-type <type>', 'which keys; swap exchanges the two', [
        ...KEY_TYPES,
        'both',
        'swap',
      ]).makeOptionMandatory(),
    )
    .addOption(etagOption())
    .addOption(showKeysOption())
