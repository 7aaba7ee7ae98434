// What Jest gives the test files that it loads, over node:test: a CommonJS test requires the package as it would there.
const assert = require('node:assert/strict')
const { after, afterEach, before, test } = require('node:test')

Object.assign(globalThis, {
  test,
  beforeAll: before,
  afterAll: after,
  afterEach,
  expect: (found) => ({ toEqual: (expected) => assert.deepEqual(found, expected) }),
})
