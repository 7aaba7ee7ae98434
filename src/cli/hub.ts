import { type Command, Option } from 'commander'
import { limits } from '../base/limits.ts'
import { certificateCommands } from './certificate-commands.ts'
import type { Environment } from './environment.ts'
import { deviceIdentityCommands, moduleIdentityCommands } from './hub-identities.ts'
import {
  addSpelled,
  choiceListOption,
  choiceOption,
  etagOption,
  hubNameOption,
  managementTargetOptions,
  showKeysOption,
  wholeNumber,
} from './options.ts'
import type { Register } from './program.ts'

/** `muster hub …`: hubs and their identity registry, under the names of `az iot hub`. */
export const hubCommand: Register = (program, environment) => {
  const hub = program.command('hub').description('IoT hubs and their device identities')
  instanceCommands(hub, environment)
  connectionStringCommands(hub, environment)
  policyCommands(hub, environment)
  certificateCommands(hub, 'hub', withHubName, environment)
  deviceIdentityCommands(hub, environment)
  moduleIdentityCommands(hub, environment)
}

const nameOption = (): Option => new Option('-n, --name <name>', 'name of the hub')

const hubNamed = (command: Command, name: Option = nameOption()): Command => {
  name.attributeName = () => 'hubName'
  return addSpelled(managementTargetOptions(command), name, '--hub-name')
}

function instanceCommands(hub: Command, environment: Environment): void {
  const hubs = () => import('./hubs.ts')
  managementTargetOptions(hub.command('list').description('list hubs')).action(async (options) =>
    (await hubs()).listHubs(options, environment),
  )
  hubNamed(hub.command('show').description('show a hub')).action(async (options) =>
    (await hubs()).showHub(options, environment),
  )
  hubNamed(hub.command('create').description('create a hub'), nameOption().makeOptionMandatory())
    .option('-l, --location <location>', 'where the hub is, for geoLatency')
    .addOption(
      choiceOption('--sku <name>', 'price tier, kept and shown only', ['F1', 'B1', 'B2', 'B3', 'S1', 'S2', 'S3']),
    )
    .addOption(
      new Option('--unit <number>', 'units of it, kept and shown only').argParser(wholeNumber(limits.hubUnits, '')),
    )
    .addOption(
      new Option('--partition-count <number>', 'partitions of the telemetry log, 4 without; fixed for good').argParser(
        wholeNumber(limits.hubPartitions, ''),
      ),
    )
    .addOption(
      new Option('--rd, --retention-day <number>', 'days that telemetry is kept, 1 without').argParser(
        wholeNumber(limits.hubRetentionDays, ''),
      ),
    )
    .option('--tags <tags...>', 'NAME=VALUE …')
    .action(async (options) => (await hubs()).createHub(options, environment))
  hubNamed(hub.command('delete').description('delete a hub that has no devices'), nameOption().makeOptionMandatory())
    .addOption(etagOption())
    .action(async (options) => (await hubs()).deleteHub(options, environment))
}

/** The second one's words are azure-cli's own; scripts know both. */
function connectionStringCommands(hub: Command, environment: Environment): void {
  const connectionString = hub.command('connection-string').description('connection strings, for --login and for SDKs')
  const commands = [
    connectionString.command('show').description('show the connection string of a policy, its key included'),
    hub.command('show-connection-string').description('the same as connection-string show'),
  ]
  for (const command of commands)
    addSpelled(
      hubNamed(command, new Option('-n, --name <name>', 'name of the hub; without, of all hubs')),
      choiceOption('--kt, --key-type <which>', 'which key', ['primary', 'secondary']).default('primary'),
      '--key',
    )
      .option('--pn, --policy-name <name>', 'name of the policy', 'iothubowner')
      .option('--all, --show-all', 'of every policy')
      .action(async (options) =>
        (await import('./connection-strings.ts')).showConnectionStrings('hub', options.hubName, options, environment),
      )
}

const withHubName = (command: Command): Command => managementTargetOptions(command).addOption(hubNameOption())

const RIGHTS = ['RegistryRead', 'RegistryWrite', 'ServiceConnect', 'DeviceConnect']

function policyCommands(hub: Command, environment: Environment): void {
  const policy = hub.command('policy').description('shared access policies: who may call the hub, and with what keys')
  const policies = () => import('./policies.ts')
  const all = (name: string, description: string): Command =>
    withHubName(policy.command(name).description(description)).addOption(showKeysOption())
  const one = (name: string, description: string): Command => {
    const policyName = new Option('-n, --name <name>', 'name of the policy').makeOptionMandatory()
    policyName.attributeName = () => 'policyName'
    return addSpelled(all(name, description), policyName, '--policy-name')
  }
  all('list', 'list policies').action(async (options) =>
    (await policies()).listPolicies('hub', options.hubName, options, environment),
  )
  one('show', 'show a policy').action(async (options) =>
    (await policies()).showPolicy('hub', options.hubName, options, environment),
  )
  const rights = choiceListOption('--permissions <rights...>', 'what it may do', RIGHTS).makeOptionMandatory()
  rights.attributeName = () => 'rights'
  one('create', 'create a policy')
    .addOption(rights)
    .action(async (options) => (await policies()).createPolicy('hub', options.hubName, options, environment))
  one('renew-key', 'make a new key of a policy, or swap its two')
    .addOption(
      choiceOption('--rk, --renew-key <which>', 'which', ['primary', 'secondary', 'swap']).makeOptionMandatory(),
    )
    .action(async (options) => (await policies()).renewKey('hub', options.hubName, options, environment))
  one('delete', 'delete a policy').action(async (options) =>
    (await policies()).deletePolicy('hub', options.hubName, options, environment),
  )
}
