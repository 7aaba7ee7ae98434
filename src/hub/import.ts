import { ServiceError } from '../base/errors.ts'
import type { IotHub, LineRules } from '../control/control.ts'
import { IMPORT_MODES } from './bulk.ts'
import { judgeDevice } from './import-devices.ts'
import type { ImportNeeds } from './import-judging.ts'
import { type DeviceLine, readDeviceLine } from './import-line.ts'
import { judgeModule } from './import-modules.ts'

/** @param mode for lines that name no `importMode` of their own */
export type DeviceImport = (hub: IotHub, mode: string) => LineRules<DeviceLine>

/**
 * The import of devices and modules with their twins (hub-service.md 3.3). Scopes of another hub mean the Edge device
 * that they name: its generation, and so its scope, is another here. Modules wait for their device and children for their
 * parent, wherever in the file these are.
 */
export function createDeviceImport(needs: ImportNeeds): DeviceImport {
  return (hub, given) => {
    const mode = IMPORT_MODES.find((each) => each.toLowerCase() === given.toLowerCase())
    if (mode === undefined)
      throw new ServiceError(
        400004,
        `mode must be one of ${IMPORT_MODES.join(', ')}, found ${JSON.stringify(given.slice(0, 40))}.`,
      )
    return {
      label: (fields) => [fields.get('id') ?? fields.get('deviceId'), fields.get('moduleId')].filter(isText).join('/'),
      read: (fields) => readDeviceLine(fields, mode, needs),
      judge: (line, draft, last) => {
        const judging = { hub, needs, draft, last }
        return line.moduleId === undefined
          ? judgeDevice(judging, line)
          : judgeModule(judging, { ...line, moduleId: line.moduleId })
      },
      announce: needs.changes.announce,
    }
  }
}

const isText = (value: unknown): value is string => typeof value === 'string' && value !== ''
