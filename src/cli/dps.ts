import { type Command, Option } from 'commander'
import type { Environment } from './environment.ts'
import {
  answerOptions,
  choiceOption,
  dpsNameOption,
  dpsTargetOptions,
  etagOption,
  flagOption,
  managementTargetOptions,
  outputOption,
  readyFileOption,
  topOption,
  weight,
} from './options.ts'
import type { Register } from './program.ts'

/** `muster dps …`: enrollments, registrations, certificates, linked hubs, under the names of `az iot dps`. */
export const dpsCommand: Register = (program, environment) => {
  const dps = program.command('dps').description('the provisioning service: enrollments, certificates, linked hubs')
  enrollmentCommands(dps, environment)
  groupCommands(dps, environment)
  registrationCommands(dps, environment)
  certificateCommands(dps, environment)
  linkedHubCommands(dps, environment)
}

function enrollmentCommands(dps: Command, environment: Environment): void {
  const enrollment = dps.command('enrollment').description('individual enrollments')
  dpsTargetOptions(enrollment.command('list').description('list individual enrollments'))
    .addOption(topOption())
    .action(async (options) => (await import('./enrollments.ts')).listEnrollments('individual', options, environment))
  dpsTargetOptions(enrollment.command('show').description('show an individual enrollment'))
    .requiredOption(...enrollmentId)
    .option(...showKeys)
    .action(async (options) => (await import('./enrollments.ts')).showEnrollment('individual', options, environment))
  const create = dpsTargetOptions(enrollment.command('create').description('create an individual enrollment'))
    .requiredOption(...enrollmentId)
    .addOption(
      choiceOption('--at, --attestation-type <type>', 'how the device proves who it is', [
        'x509',
        'symmetricKey',
        'tpm',
      ]).makeOptionMandatory(),
    )
    .option('--did, --device-id <id>', 'device ID in the hub (default: the registration ID)')
    .option('--ek, --endorsement-key <base64>', 'endorsement key of a TPM, as "muster tpm" prints it')
  enrollmentOptions(create).action(async (options) =>
    (await import('./enrollments.ts')).createEnrollment('individual', options, environment),
  )
  dpsTargetOptions(enrollment.command('delete').description('delete an individual enrollment'))
    .requiredOption(...enrollmentId)
    .addOption(etagOption())
    .action(async (options) => (await import('./enrollments.ts')).deleteEnrollment('individual', options, environment))
}

function groupCommands(dps: Command, environment: Environment): void {
  const group = dps.command('enrollment-group').description('enrollment groups')
  dpsTargetOptions(group.command('list').description('list enrollment groups'))
    .addOption(topOption())
    .action(async (options) => (await import('./enrollments.ts')).listEnrollments('group', options, environment))
  dpsTargetOptions(group.command('show').description('show an enrollment group'))
    .requiredOption(...enrollmentId)
    .option(...showKeys)
    .action(async (options) => (await import('./enrollments.ts')).showEnrollment('group', options, environment))
  const create = dpsTargetOptions(
    group
      .command('create')
      .description('create an enrollment group: by a CA certificate, by an intermediate certificate, else by a key'),
  )
    .requiredOption(...enrollmentId)
    // The az CLI has three spellings of each; two fit into an option.
    .addOption(new Option('--ca-name <name>').hideHelp())
    .addOption(new Option('--secondary-ca-name <name>').hideHelp())
    .option('--cn, --root-ca-name <name>', 'a CA certificate of the service, verified by the time devices register')
    .option('--scn, --secondary-root-ca-name <name>', 'a second one, for the time of a change')
  enrollmentOptions(create).action(async (options) =>
    (await import('./enrollments.ts')).createEnrollment('group', options, environment),
  )
  dpsTargetOptions(group.command('delete').description('delete an enrollment group'))
    .requiredOption(...enrollmentId)
    .addOption(etagOption())
    .action(async (options) => (await import('./enrollments.ts')).deleteEnrollment('group', options, environment))
}

const enrollmentId = ['--eid, --enrollment-id <id>', 'registration ID, or ID of the enrollment group'] as const
const registrationId = ['--rid, --registration-id <id>', 'registration ID'] as const
const showKeys = ['--keys, --show-keys', 'show symmetric keys too'] as const

/** What individual enrollments and groups have in common (dps.md 6.3). */
const enrollmentOptions = (command: Command): Command =>
  command
    .option('--cp, --certificate-path <file>', 'X.509: the certificate of the device, or the intermediate of the group')
    .option('--scp, --secondary-certificate-path <file>', 'X.509: a second one, for the time of a change')
    .option('--pk, --primary-key <base64>', 'symmetric key; without it the service makes one')
    .option('--sk, --secondary-key <base64>', 'symmetric key; without it the service makes one')
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
    .option('--wh, --webhook-url <url>', 'custom allocation: the webhook that chooses the hub')
    .option('--av, --api-version <version>', 'custom allocation: version of the webhook’s request (2019-03-31)')
    .option('--ih, --iot-hubs <hosts...>', 'host names of the hubs to choose from (default: all linked hubs)')
    .option(...showKeys)

function registrationCommands(dps: Command, environment: Environment): void {
  const registration = dps.command('registration').description('records of devices that registered')
  dpsTargetOptions(registration.command('list').description('list the devices registered through an enrollment group'))
    .requiredOption(...enrollmentId)
    .addOption(topOption())
    .action(async (options) => (await import('./registrations.ts')).listRegistrations(options, environment))
  dpsTargetOptions(registration.command('show').description('show the record of a device'))
    .requiredOption(...registrationId)
    .action(async (options) => (await import('./registrations.ts')).showRegistration(options, environment))
  answerOptions(registration.command('explain'), outputOption('text'))
    .description('say why a device was refused, or how it came to its hub, and what to do about it')
    .addOption(readyFileOption())
    .addOption(dpsNameOption())
    .option('--rid, --registration-id <id>', 'registration ID: its attempts, newest first')
    .option('--tid, --tracking-id <id>', 'tracking ID, as the device was told it: this one attempt')
    .action(async (options) => (await import('./explain.ts')).explainRegistration(options, environment))
  dpsTargetOptions(registration.command('delete').description('delete the record of a device: it must register anew'))
    .requiredOption(...registrationId)
    .addOption(etagOption())
    .action(async (options) => (await import('./registrations.ts')).deleteRegistration(options, environment))
}

function certificateCommands(dps: Command, environment: Environment): void {
  const certificate = dps.command('certificate').description('CA certificates and their proof of possession')
  const certificates = () => import('./certificates.ts')
  const named = (name: string, description: string): Command =>
    managementTargetOptions(certificate.command(name).description(description))
      .requiredOption('-n, --certificate-name <name>', 'friendly name of the certificate')
      .addOption(dpsNameOption())
  managementTargetOptions(certificate.command('list').description('list CA certificates'))
    .addOption(dpsNameOption())
    .action(async (options) => (await certificates()).listCertificates(options, environment))
  named('show', 'show a CA certificate').action(async (options) =>
    (await certificates()).showCertificate(options, environment),
  )
  named('create', 'upload a CA certificate; it is trusted once its possession is proved')
    .requiredOption('-p, --path <file>', 'the certificate, PEM or DER')
    .addOption(flagOption('-v, --verified', 'trust it at once, without proof of possession'))
    .addOption(etagOption())
    .action(async (options) => (await certificates()).createCertificate(options, environment))
  named('delete', 'delete a CA certificate')
    .addOption(etagOption())
    .action(async (options) => (await certificates()).deleteCertificate(options, environment))
  named('generate-verification-code', 'get the code that a verification certificate must carry as its common name')
    .addOption(etagOption())
    .action(async (options) => (await certificates()).generateVerificationCode(options, environment))
  named('verify', 'prove possession with a certificate that the CA signed for the verification code')
    .requiredOption('-p, --path <file>', 'the verification certificate, PEM or DER')
    .addOption(etagOption())
    .action(async (options) => (await certificates()).verifyCertificate(options, environment))
}

function linkedHubCommands(dps: Command, environment: Environment): void {
  const linkedHub = dps.command('linked-hub').description('hubs that devices are assigned to')
  managementTargetOptions(linkedHub.command('list').description('list linked hubs'))
    .addOption(dpsNameOption())
    .action(async (options) => (await import('./linked-hubs.ts')).listLinkedHubs(options, environment))
  managementTargetOptions(linkedHub.command('create').description('link a hub'))
    .addOption(dpsNameOption())
    .option('--hn, --hub-name <name>', 'name of a hub of this service')
    .option('--connection-string <string>', 'connection string of any hub, with registry rights')
    .option('--location <location>', 'where the hub is, for geoLatency')
    .option('--allocation-weight <number>', 'share of the devices, 1 to 1000', weight)
    .addOption(flagOption('--aap, --apply-allocation-policy', 'take part in the allocation'))
    .action(async (options) => (await import('./linked-hubs.ts')).createLinkedHub(options, environment))
}
