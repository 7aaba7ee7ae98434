import { useCompileCache } from './compile-cache.ts'

// Entry of a worker thread. Dynamic import: static ones are compiled before the cache is there.
useCompileCache()

const { serveAsWorker } = await import('./node-worker.ts')

serveAsWorker()
