import { type Command, Option } from 'commander'
import type { Kind } from './enrollment-documents.ts'
import type { Environment } from './environment.ts'
import {
  absentOption,
  addSpelled,
  answerOptions,
  choiceOption,
  dpsNameOption,
  dpsTargetOptions,
  etagOption,
  flagOption,
  outputOption,
  readyFileOption,
  showKeysOption,
  topOption,
} from './options.ts'

/** The commands over the service API: enrollments, groups, and the records of devices that registered (dps.md 6). */
export function enrollmentCommands(dps: Command, environment: Environment): void {
  const enrollment = dps.command('enrollment').description('individual enrollments')
  commonCommands(enrollment, 'individual', environment)
  createCommand(enrollment, 'individual', environment)
    .addOption(
      choiceOption('--at, --attestation-type <type>', 'how the device proves who it is', [
        'x509',
        'symmetricKey',
        'tpm',
      ]).makeOptionMandatory(),
    )
    .addOption(deviceId())
  updateCommand(enrollment, 'individual', environment).addOption(deviceId())
  enrollmentRegistrationCommands(enrollment, environment)

  const group = dps.command('enrollment-group').description('enrollment groups')
  commonCommands(group, 'group', environment)
  createCommand(group, 'group', environment)
  updateCommand(group, 'group', environment)
  deviceKeyCommand(group, environment)
  const registration = group.command('registration').description('records of devices that registered through a group')
  listRegistrations(registration, environment)
  oneRegistration(registration, environment)

  registrationCommands(dps, environment)
  // The az CLI had it here first, and documentation still does.
  deviceKeyCommand(dps, environment, { hidden: true })
}

const enrollmentId = ['--eid, --enrollment-id <id>', 'registration ID, or ID of the enrollment group'] as const
const registrationId = ['--rid, --registration-id <id>', 'registration ID'] as const
const deviceId = (): Option =>
  new Option('--did, --device-id <id>', 'device ID in the hub (default: the registration ID)')
const nouns = { individual: 'individual enrollment', group: 'enrollment group' } as const

function commonCommands(parent: Command, kind: Kind, environment: Environment): void {
  dpsTargetOptions(parent.command('list').description(`list ${nouns[kind]}s`))
    .addOption(topOption())
    .action(async (options) => (await import('./enrollments.ts')).listEnrollments(kind, options, environment))
  dpsTargetOptions(parent.command('show').description(`show an ${nouns[kind]}`))
    .requiredOption(...enrollmentId)
    .addOption(showKeysOption())
    .action(async (options) => (await import('./enrollments.ts')).showEnrollment(kind, options, environment))
  dpsTargetOptions(parent.command('delete').description(`delete an ${nouns[kind]}; its devices stay in their hubs`))
    .requiredOption(...enrollmentId)
    .addOption(etagOption())
    .action(async (options) => (await import('./enrollments.ts')).deleteEnrollment(kind, options, environment))
}

function createCommand(parent: Command, kind: Kind, environment: Environment): Command {
  const how = kind === 'group' ? ': by a CA certificate, by an intermediate certificate, else by a key' : ''
  const command = dpsTargetOptions(parent.command('create').description(`create an ${nouns[kind]}${how}`))
  command.requiredOption(...enrollmentId)
  return enrollmentOptions(command, kind).action(async (options) =>
    (await import('./enrollments.ts')).createEnrollment(kind, options, environment),
  )
}

function updateCommand(parent: Command, kind: Kind, environment: Environment): Command {
  const command = dpsTargetOptions(
    parent.command('update').description(`change an ${nouns[kind]}; what is not named stays as it is`),
  )
  command.requiredOption(...enrollmentId)
  return enrollmentOptions(command, kind)
    .addOption(flagOption('--rc, --remove-certificate', 'X.509: take the first certificate away'))
    .addOption(flagOption('--rsc, --remove-secondary-certificate', 'X.509: take the second certificate away'))
    .addOption(etagOption())
    .action(async (options) => (await import('./enrollments.ts')).updateEnrollment(kind, options, environment))
}

/** What `create` and `update` have in common (dps.md 6.3). */
function enrollmentOptions(command: Command, kind: Kind): Command {
  attestationOptions(command, kind)
    .addOption(flagOption('--ee, --edge-enabled', 'IoT Edge device'))
    .option('--tags, --initial-twin-tags <json>', 'tags of the first device twin, JSON or a file of it')
    .option(
      '--props, --initial-twin-properties <json>',
      'desired properties of the first device twin, JSON or a file of it',
    )
    .addOption(
      choiceOption('--ps, --provisioning-status <status>', 'whether devices may register', ['enabled', 'disabled']),
    )
    .addOption(
      choiceOption('--rp, --reprovision-policy <policy>', 'what becomes of a device that registers again', [
        'reprovisionandmigratedata',
        'reprovisionandresetdata',
        'never',
      ]),
    )
    .addOption(
      choiceOption('--ap, --allocation-policy <policy>', 'how a hub is chosen; without it the service’s own policy', [
        'hashed',
        'geoLatency',
        'static',
        'custom',
      ]),
    )
    .option('--hn, --iot-hub-host-name <host>', 'host name of the only hub, for --allocation-policy static')
    .option('--ih, --iot-hubs <hosts...>', 'host names of the hubs to choose from (default: all linked hubs)')
    .option('--wh, --webhook-url <url>', 'custom allocation: the webhook that chooses the hub')
    .option('--av, --api-version <version>', 'custom allocation: version of the webhook’s request (2019-03-31)')
    .addOption(showKeysOption())
  const noCertificates = 'Expected no credential policy: issuing certificates from a registry of Azure is not here.'
  return addSpelled(
    command,
    absentOption('--crp, --credential-policy <name>', noCertificates),
    '--credential-policy-name',
  )
}

function attestationOptions(command: Command, kind: Kind): Command {
  command
    .option('--cp, --certificate-path <file>', 'X.509: the certificate of the device, or the intermediate of the group')
    .option('--scp, --secondary-certificate-path <file>', 'X.509: a second one, for the time of a change')
    .option('--pk, --primary-key <base64>', 'symmetric key; without it the service makes one')
    .option('--sk, --secondary-key <base64>', 'symmetric key; without it the service makes one')
  if (kind === 'group') {
    const [ca, second] = [
      new Option(
        '--cn, --root-ca-name <name>',
        'a CA certificate of the service, verified by the time devices register',
      ),
      new Option('--scn, --secondary-root-ca-name <name>', 'a second one, for the time of a change'),
    ]
    return addSpelled(addSpelled(command, ca, '--ca-name'), second, '--secondary-ca-name')
  }
  const information = new Option(
    '--info, --device-information <json>',
    'anything about the device, JSON or a file of it',
  )
  return addSpelled(command, information, '--device-info')
    .option('--ek, --endorsement-key <base64>', 'endorsement key of a TPM, as "muster tpm" prints it')
    .option('--srk, --storage-root-key <base64>', 'storage root key of a TPM, as "muster tpm" prints it')
}

function deviceKeyCommand(parent: Command, environment: Environment, visibility: { readonly hidden?: boolean } = {}) {
  const command = parent
    .command('compute-device-key', visibility)
    .description('derive the key of a device from the key of its enrollment group')
  const key = new Option('--key, --symmetric-key <base64>', 'the group’s key, in place of the group')
  dpsTargetOptions(command)
    .requiredOption(...registrationId)
    .option(...enrollmentId)
    .addOption(key)
    .action(async (options) => (await import('./enrollments.ts')).computeDeviceKey(options, environment))
}

const registrations = () => import('./registrations.ts')

function listRegistrations(parent: Command, environment: Environment): void {
  dpsTargetOptions(parent.command('list').description('list the devices registered through an enrollment group'))
    .requiredOption(...enrollmentId)
    .addOption(topOption())
    .action(async (options) => (await registrations()).listRegistrations(options, environment))
}

function oneRegistration(parent: Command, environment: Environment): void {
  dpsTargetOptions(parent.command('show').description('show the record of a device'))
    .requiredOption(...registrationId)
    .action(async (options) => (await registrations()).showRegistration(options, environment))
  dpsTargetOptions(parent.command('delete').description('delete the record of a device: it must register anew'))
    .requiredOption(...registrationId)
    .addOption(etagOption())
    .action(async (options) => (await registrations()).deleteRegistration(options, environment))
}

/** The record of the one device of an individual enrollment, which is named as the enrollment is. */
function enrollmentRegistrationCommands(enrollment: Command, environment: Environment): void {
  const registration = enrollment.command('registration').description('the record of an enrolled device')
  const named = (name: string, description: string): Command => {
    const id = new Option('--eid, --enrollment-id <id>', 'registration ID').makeOptionMandatory()
    id.attributeName = () => 'registrationId'
    return addSpelled(
      dpsTargetOptions(registration.command(name).description(description)),
      id,
      '--rid',
      '--registration-id',
    )
  }
  named('show', 'show it').action(async (options) => (await registrations()).showRegistration(options, environment))
  named('delete', 'delete it: the device must register anew')
    .addOption(etagOption())
    .action(async (options) => (await registrations()).deleteRegistration(options, environment))
}

function registrationCommands(dps: Command, environment: Environment): void {
  const registration = dps.command('registration').description('records of devices that registered')
  listRegistrations(registration, environment)
  oneRegistration(registration, environment)
  answerOptions(registration.command('explain'), outputOption('text'))
    .description('say why a device was refused, or how it came to its hub, and what to do about it')
    .addOption(readyFileOption())
    .addOption(dpsNameOption())
    .option('--rid, --registration-id <id>', 'registration ID: its attempts, newest first')
    .option('--tid, --tracking-id <id>', 'tracking ID, as the device was told it: this one attempt')
    .action(async (options) => (await import('./explain.ts')).explainRegistration(options, environment))
}
