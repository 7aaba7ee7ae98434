import type { Command } from 'commander'
import { absentOption, choiceOption, dpsNameOption, flagOption, managementTargetOptions } from './options.ts'
import type { Register } from './program.ts'

const DEVICE_MODES = [
  'create',
  'createOrUpdate',
  'createOrUpdateIfMatchETag',
  'update',
  'updateIfMatchETag',
  'delete',
  'deleteIfMatchETag',
  'updateTwin',
  'updateTwinIfMatchETag',
]
const ENROLLMENT_MODES = ['create', 'createOrUpdate', 'update', 'updateIfMatchETag', 'delete']

const NO_BLOBS = 'Expected --file: blob containers are not here, files are.'

/** Bulk: `import` and `export` beside the commands of one device or enrollment. */
export const importCommands: Register = (program, environment) => {
  const imports = () => import('./imports.ts')
  const devices = within(program, 'hub', 'device-identity')
  importOptions(devices, 'import device and module identities with their twins from a file', DEVICE_MODES)
    .option('-n, --hub-name <name>', 'name of the hub; not needed when there is only one')
    .addOption(absentOption('--ibcu, --input-blob-container-uri <uri>', NO_BLOBS))
    .addOption(absentOption('--obcu, --output-blob-container-uri <uri>', NO_BLOBS))
    .action(async (options) => (await imports()).importDevices(options, environment))
  exportOptions(devices, 'export device and module identities with their twins to a file')
    .option('-n, --hub-name <name>', 'name of the hub; not needed when there is only one')
    .addOption(absentOption('--bcu, --blob-container-uri <uri>', NO_BLOBS))
    .action(async (options) => (await import('./exports.ts')).exportDevices(options, environment))
  for (const [name, kind, noun] of [
    ['enrollment', 'individual', 'individual enrollments'],
    ['enrollment-group', 'group', 'enrollment groups'],
  ] as const) {
    const enrollments = within(program, 'dps', name)
    importOptions(enrollments, `import ${noun} from a file`, ENROLLMENT_MODES)
      .addOption(dpsNameOption('-n, --dps-name <name>'))
      .action(async (options) => (await imports()).importEnrollments(kind, options, environment))
    exportOptions(enrollments, `export ${noun} to a file`)
      .addOption(dpsNameOption('-n, --dps-name <name>'))
      .action(async (options) => (await import('./exports.ts')).exportEnrollments(kind, options, environment))
  }
}

const exportOptions = (parent: Command, description: string): Command =>
  managementTargetOptions(parent.command('export').description(description))
    .requiredOption('-f, --file <file>', 'JSON lines, as the import takes them; -: standard output')
    .addOption(flagOption('--keys', 'write symmetric keys too'))

/** `muster import azure`: everything at once, in the formats of Azure's tools. */
export const importCommand: Register = (program, environment) => {
  const azure = program
    .command('import')
    .description('take over what another service has')
    .command('azure')
    .description('take over a hub and a provisioning service of Azure from what Azure’s tools write')
  managementTargetOptions(azure)
    .option('--devices <file>', 'devices.txt, as an export of the hub’s identities writes it')
    .option('--enrollments <file>', 'what "az iot dps enrollment list" writes; symmetric keys must be in it')
    .option('--enrollment-groups <file>', 'what "az iot dps enrollment-group list" writes')
    .option('--certificates <file...>', 'what "az iot dps certificate list" writes, CA certificates, folders of them')
    .addOption(flagOption('--verified', 'take CA certificates of files as verified'))
    .option('--map <old=new...>', 'host names of hubs in enrollments, and what they are called here')
    .addOption(
      choiceOption('--mode <mode>', 'what to do with entries that name no importMode', [
        'create',
        'createOrUpdate',
      ]).default('createOrUpdate'),
    )
    .option('--report <file>', 'what could not be taken over, and why, as JSON lines', 'import-azure.report.jsonl')
    .addOption(flagOption('--dry-run', 'say what would fail, change nothing'))
    .addOption(flagOption('--restart', 'begin anew where an earlier run of the same files was broken off'))
    .option('--hub-name <name>', 'name of the hub; not needed when there is only one')
    .addOption(dpsNameOption())
    .action(async (options) => (await import('./import-azure.ts')).importAzure(options, environment))
}

/** A command that is registered already. */
function within(program: Command, ...names: readonly string[]): Command {
  return names.reduce((command, name) => {
    const found = command.commands.find((each) => each.name() === name)
    if (found === undefined) throw new Error(`There is no command ${name} to add to.`)
    return found
  }, program)
}

const importOptions = (parent: Command, description: string, modes: readonly string[]): Command =>
  managementTargetOptions(parent.command('import').description(description))
    .requiredOption('-f, --file <file>', 'CSV with a header, JSON lines or a JSON array; -: standard input')
    .addOption(
      choiceOption('--format <format>', 'what the file holds (default: by its name and content)', ['csv', 'json']),
    )
    .addOption(
      choiceOption('--mode <mode>', 'what to do with lines that name no importMode of their own', modes).default(
        'createOrUpdate',
      ),
    )
    .option('--report <file>', 'write every line that failed, and why, as JSON lines')
    .addOption(flagOption('--dry-run', 'say what would fail, change nothing'))
    .addOption(flagOption('--restart', 'begin anew where an earlier run of the same file was broken off'))
