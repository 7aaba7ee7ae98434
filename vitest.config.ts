import { defineConfig } from 'vitest/config'

// Three projects: the default run stays under three minutes; `sdk` runs the matrices of unmodified clients;
// `slow` holds kill, power-loss, full-disk, backup, packaging, npm, stranger, fuzz, TPM, Java and Python suites (each has its own npm script).
export default defineConfig({
  test: {
    // The default leaves a core to nobody: on two cores that is one worker, and half the speed.
    maxWorkers: '100%',
    projects: [
      {
        test: {
          name: 'default',
          include: [
            'src/**/*.test.ts',
            'tests/*.test.ts',
            'tests/testing/**/*.test.ts',
            'tests/wire/**/*.test.ts',
            'tests/smoke/**/*.test.ts',
            'tests/upgrade/**/*.test.ts',
          ],
          testTimeout: 20_000,
        },
      },
      { test: { name: 'sdk', include: ['tests/sdk/**/*.test.ts'], testTimeout: 60_000, fileParallelism: false } },
      {
        test: {
          name: 'slow',
          include: [
            'tests/faults/**/*.test.ts',
            'tests/npm/**/*.test.ts',
            'tests/packaging/**/*.test.ts',
            'tests/strangers/**/*.test.ts',
            'tests/sdk-java/**/*.test.ts',
            'tests/sdk-python/**/*.test.ts',
            'tests/tpm/**/*.test.ts',
          ],
          testTimeout: 3_600_000,
          fileParallelism: false,
        },
      },
    ],
  },
})
