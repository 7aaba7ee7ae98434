import type { Bus } from '../../src/bus/bus.ts'

/** A bus that loses every hint, as the port allows: what still works only later works; what never happens is a fault. */
export function createDroppingBus(): Bus {
  return { publish: () => undefined, subscribe: () => () => undefined, close: async () => undefined }
}
