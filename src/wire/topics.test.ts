import fc from 'fast-check'
import { expect, test } from 'vitest'
import { answerTopic, decodePercent, formatPropertyBag, parsePropertyBag, parseTopicRequest } from './topics.ts'

test('the bag that Node sends is read', () => {
  // hub-device.md 2.2, observed
  expect(parsePropertyBag('%24.mid=id%201&%24.ct=application%2Fjson&%24.ce=utf-8&p%20q=v%26w&%24.sub=comp')).toEqual([
    ['$.mid', 'id 1'],
    ['$.ct', 'application/json'],
    ['$.ce', 'utf-8'],
    ['p q', 'v&w'],
    ['$.sub', 'comp'],
  ])
})

test.each([
  ['', []],
  ['&&', []],
  ['a=1', [['a', '1']]],
  ['a', [['a', null]]],
  ['a=', [['a', '']]],
  ['=b', [['', 'b']]],
  ['a=b=c', [['a', 'b=c']]],
  [
    'a=1&a=2',
    [
      ['a', '1'],
      ['a', '2'],
    ],
  ],
  ['$.mid=raw', [['$.mid', 'raw']]],
  [
    'rate=100%&x=%zz%20y',
    [
      ['rate', '100%'],
      ['x', '%zz y'],
    ],
  ],
  ['x=%ff%20', [['x', '%ff%20']]],
  ['x=a+b', [['x', 'a+b']]],
  ['name=Grüße', [['name', 'Grüße']]],
])('bag %j', (bag, expected) => {
  expect(parsePropertyBag(bag)).toEqual(expected)
})

test('system properties are written first and as devices expect', () => {
  expect(
    formatPropertyBag([
      ['color', 'red & blue'],
      ['$.mid', 'm1'],
      ['empty', ''],
      ['nothing', null],
      ['$.to', '/devices/d1/messages/devicebound'],
    ]),
  ).toBe('%24.mid=m1&%24.to=%2Fdevices%2Fd1%2Fmessages%2Fdevicebound&color=red%20%26%20blue')
})

test('what is written reads back as it was, and has no character that a topic gives a meaning', () => {
  const text = fc.string({ unit: 'grapheme', minLength: 1 }).filter((each) => each.isWellFormed())
  fc.assert(
    fc.property(
      fc.array(
        fc.tuple(
          text.filter((name) => !name.startsWith('$.')),
          text,
        ),
      ),
      (properties) => {
        const bag = formatPropertyBag(properties)
        expect(bag).not.toMatch(/[/+#?$]/)
        expect(parsePropertyBag(bag)).toEqual(properties)
      },
    ),
  )
})

test('half a surrogate pair does not throw', () => {
  expect(formatPropertyBag([['a', '\ud800']])).toBe('a=%EF%BF%BD')
})

test('decoding never throws', () => {
  fc.assert(fc.property(fc.string(), (text) => void decodePercent(text)))
})

test.each([
  ['$iothub/twin/GET/?$rid=7', '$iothub/twin/GET/', '7'],
  ['$iothub/twin/PATCH/properties/reported/?$rid=a%2Fb&$version=4', '$iothub/twin/PATCH/properties/reported/', 'a%2Fb'],
  [
    '$dps/registrations/GET/iotdps-get-operationstatus/?$rid=1&operationId=5.x',
    '$dps/registrations/GET/iotdps-get-operationstatus/',
    '1',
  ],
  ['$iothub/methods/res/200/?$rid=', '$iothub/methods/res/200/', undefined],
  ['$iothub/methods/res/200/', '$iothub/methods/res/200/', undefined],
  ['a?b&$rid', 'a', undefined],
])('request topic %s', (topic, path, rid) => {
  expect(parseTopicRequest(topic)).toMatchObject({ path, rid })
})

test('parameters keep their spelling, the first of a name counts', () => {
  const { parameters } = parseTopicRequest('x/?$rid=1&operationId=4.a%20b&operationId=other')
  expect(parameters.get('operationId')).toBe('4.a%20b')
})

test('an identifier that leaves no room for its answer counts as none', () => {
  expect(parseTopicRequest(`x/?$rid=${'r'.repeat(65_000)}`).rid).toBeUndefined()
})

test('an answer carries $rid first', () => {
  expect(answerTopic('$dps/registrations/res/202/', 'abc', { 'retry-after': 3 })).toBe(
    '$dps/registrations/res/202/?$rid=abc&retry-after=3',
  )
})
