import { type Command, Option } from 'commander'
import { certificateCommands } from './certificate-commands.ts'
import type { Environment } from './environment.ts'
import {
  absentOption,
  addSpelled,
  choiceListOption,
  choiceOption,
  dpsNameOption,
  flagOption,
  managementTargetOptions,
  showKeysOption,
  weight,
} from './options.ts'

/** The commands over the management API: services, and the certificates, hubs and policies that belong to them (dps.md 7). */
export function resourceCommands(dps: Command, environment: Environment): void {
  serviceCommands(dps, environment)
  allocationPolicyCommands(dps, environment)
  certificateCommands(dps, 'dps', withDpsName, environment)
  linkedHubCommands(dps, environment)
  policyCommands(dps, environment)
  connectionStringCommands(dps, environment)
}

const withDpsName = (command: Command): Command => managementTargetOptions(command).addOption(dpsNameOption())

/** With `-n` as well, where nothing else of the command has a name. */
const withShortDpsName = (command: Command): Command =>
  managementTargetOptions(command).addOption(dpsNameOption('-n, --dps-name <name>'))

function serviceCommands(dps: Command, environment: Environment): void {
  const services = () => import('./provisioning-services.ts')
  managementTargetOptions(dps.command('list').description('list provisioning services')).action(async (options) =>
    (await services()).listServices(options, environment),
  )
  withName(dps.command('show').description('show a provisioning service: ID scope, host names, linked hubs')).action(
    async (options) => (await services()).showService(options, environment),
  )
  withName(dps.command('create').description('create a provisioning service'), { mandatory: true })
    .option('-l, --location <location>', 'where it is; only kept and shown')
    .addOption(choiceOption('--sku <name>', 'price tier; there is one', ['S1']))
    .option('--tags <pairs...>', 'tags as name=value')
    .addOption(
      absentOption(
        '--edr, --enforce-data-residency [true|false]',
        'Expected no data residency: all data is on this machine.',
      ),
    )
    .action(async (options) => (await services()).createService(options, environment))
  withName(dps.command('update').description('change a provisioning service'))
    .option('--set <pairs...>', 'members of the resource, as in properties.allocationPolicy=GeoLatency')
    .option('--tags <pairs...>', 'tags as name=value, in place of those there are')
    .action(async (options) => (await services()).updateService(options, environment))
  withName(dps.command('delete').description('delete a provisioning service that has no enrollments'), {
    mandatory: true,
  }).action(async (options) => (await services()).deleteService(options, environment))
}

function withName(command: Command, { mandatory = false } = {}): Command {
  const name = new Option(
    '-n, --name <name>',
    `name of the provisioning service${mandatory ? '' : '; not needed when there is only one'}`,
  ).makeOptionMandatory(mandatory)
  name.attributeName = () => 'dpsName'
  return addSpelled(managementTargetOptions(command), name, '--dps-name')
}

function allocationPolicyCommands(dps: Command, environment: Environment): void {
  const allocation = dps
    .command('allocation-policy')
    .description('how the service chooses a hub when an enrollment says nothing')
  const services = () => import('./provisioning-services.ts')
  managementTargetOptions(allocation.command('list').description('list the policies of all services')).action(
    async (options) => (await services()).listAllocationPolicies(options, environment),
  )
  withShortDpsName(allocation.command('show').description('show the policy')).action(async (options) =>
    (await services()).showAllocationPolicy(options, environment),
  )
  withShortDpsName(allocation.command('update').alias('set').description('change the policy'))
    .addOption(
      choiceOption('--policy <policy>', 'the new policy', ['Hashed', 'GeoLatency', 'Static']).makeOptionMandatory(),
    )
    .action(async (options) => (await services()).updateAllocationPolicy(options, environment))
}

function linkedHubCommands(dps: Command, environment: Environment): void {
  const linkedHub = dps.command('linked-hub').description('hubs that devices are assigned to')
  const linkedHubs = () => import('./linked-hubs.ts')
  const shared = (command: Command): Command => withDpsName(command).addOption(new Option('--no-wait').hideHelp())
  const allocation = (command: Command): Command =>
    command
      .option('--allocation-weight <number>', 'share of the devices, 1 to 1000', weight)
      .addOption(flagOption('--aap, --apply-allocation-policy', 'take part in the allocation'))
  const named = (name: string, description: string): Command =>
    shared(linkedHub.command(name).description(description)).requiredOption(
      '--linked-hub <host>',
      'host name of the linked hub, or name of a hub of this service',
    )
  shared(linkedHub.command('list').description('list linked hubs')).action(async (options) =>
    (await linkedHubs()).listLinkedHubs(options, environment),
  )
  named('show', 'show a linked hub').action(async (options) => (await linkedHubs()).showLinkedHub(options, environment))
  allocation(shared(linkedHub.command('create').description('link a hub')))
    .option('--hn, --hub-name <name>', 'name of a hub of this service')
    .option('--connection-string <string>', 'connection string of any hub, with registry rights')
    .option('--location <location>', 'where the hub is, for geoLatency')
    .addOption(new Option('--hrg, --hub-resource-group <name>').hideHelp())
    .action(async (options) => (await linkedHubs()).createLinkedHub(options, environment))
  allocation(named('update', 'change the share of a linked hub')).action(async (options) =>
    (await linkedHubs()).updateLinkedHub(options, environment),
  )
  named('delete', 'unlink a hub; its devices stay in it').action(async (options) =>
    (await linkedHubs()).deleteLinkedHub(options, environment),
  )
}

const RIGHTS = [
  'ServiceConfig',
  'DeviceConnect',
  'EnrollmentRead',
  'EnrollmentWrite',
  'RegistrationStatusRead',
  'RegistrationStatusWrite',
]

function policyCommands(dps: Command, environment: Environment): void {
  const policy = dps
    .command('policy')
    .description('shared access policies: who may call the service, and with what keys')
  const policies = () => import('./policies.ts')
  const all = (name: string, description: string): Command =>
    withShortDpsName(policy.command(name).description(description)).addOption(showKeysOption())
  const one = (name: string, description: string): Command =>
    all(name, description)
      .requiredOption('--pn, --policy-name <name>', 'name of the policy')
      .addOption(new Option('--no-wait').hideHelp())
  const rights = (): Option => choiceListOption('-r, --rights <rights...>', 'what it may do', RIGHTS)
  const keys = (command: Command, made: string): Command =>
    command
      .option('--pk, --primary-key <base64>', `its first key; ${made}`)
      .option('--sk, --secondary-key <base64>', `its second key; ${made}`)
  all('list', 'list policies').action(async (options) =>
    (await policies()).listPolicies('dps', options.dpsName, options, environment),
  )
  one('show', 'show a policy').action(async (options) =>
    (await policies()).showPolicy('dps', options.dpsName, options, environment),
  )
  keys(one('create', 'create a policy'), 'without it the service makes one')
    .addOption(rights().makeOptionMandatory())
    .action(async (options) => (await policies()).createPolicy('dps', options.dpsName, options, environment))
  keys(one('update', 'change rights or keys of a policy'), 'empty for a new one')
    .addOption(rights())
    .action(async (options) => (await policies()).updatePolicy('dps', options.dpsName, options, environment))
  one('renew-key', 'make a new key of a policy, or swap its two')
    .addOption(
      choiceOption('--rk, --renew-key <which>', 'which', ['primary', 'secondary', 'swap']).makeOptionMandatory(),
    )
    .action(async (options) => (await policies()).renewKey('dps', options.dpsName, options, environment))
  one('delete', 'delete a policy').action(async (options) =>
    (await policies()).deletePolicy('dps', options.dpsName, options, environment),
  )
}

function connectionStringCommands(dps: Command, environment: Environment): void {
  const connectionString = dps.command('connection-string').description('connection strings, for --login and for SDKs')
  const keyType = choiceOption('--kt, --key-type <which>', 'which key', ['primary', 'secondary']).default('primary')
  addSpelled(withShortDpsName(connectionString.command('show')), keyType, '--key')
    .description('show the connection string of a policy, its key included')
    .option('--pn, --policy-name <name>', 'name of the policy', 'provisioningserviceowner')
    .option('--all, --show-all', 'of every policy')
    .action(async (options) =>
      (await import('./connection-strings.ts')).showConnectionStrings('dps', options.dpsName, options, environment),
    )
}
