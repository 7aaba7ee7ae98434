import { busContract } from './bus.contract.ts'
import { createInProcessBus } from './in-process.ts'

busContract('in process', async () => {
  const bus = createInProcessBus()
  return [bus, bus]
})
