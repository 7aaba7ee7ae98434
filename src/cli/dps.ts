import { enrollmentCommands } from './dps-enrollments.ts'
import { resourceCommands } from './dps-resources.ts'
import type { Register } from './program.ts'

/** `muster dps …`: provisioning services and what is in them, under the names of `az iot dps`. */
export const dpsCommand: Register = (program, environment) => {
  const dps = program.command('dps').description('the provisioning service: enrollments, certificates, linked hubs')
  resourceCommands(dps, environment)
  enrollmentCommands(dps, environment)
}
