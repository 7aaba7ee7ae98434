/**
 * Every bound of the product, by name and unit. Unauthenticated bytes have the smallest. Numbers of the real service
 * are marked with their page; the others are ours.
 */
export const limits = {
  // --- connections that have not proved anything yet (wire/listener)
  /** Unproved connections per source address, per node. */
  unprovedConnectionsPerSource: 512,
  /** Unproved connections in all, per node. */
  unprovedConnections: 4_096,
  /** Connections that wait for such a place, per node, and for how long: clients give up after 30 to 60 s. */
  waitingConnections: 8_192,
  waitingMs: 60_000,
  /** Handshakes that a node begins before it looks after its other connections again: each takes about 1 ms. */
  handshakesPerTurn: 8,
  /** TLS handshake must end within. */
  handshakeMs: 10_000,
  /** A connection must prove who it is (HTTP: first complete request; MQTT: CONNECT) within. */
  proveMs: 15_000,
  /** Certificates in a presented chain; walking 120 costs 20 ms (attestation-crypto.md B2). */
  presentedChain: 10,
  /** Bytes of all presented certificates together. */
  presentedChainBytes: 64 * 1024,
  /** Connections the kernel completes while we are busy: a fleet that returns at once must not see refusals. */
  listenBacklog: 4_096,
  /** What was written to a connection that we end may still leave within. */
  closeGraceMs: 2_000,

  // --- HTTP
  httpHeaderBytes: 16 * 1024,
  /** DPS device and service messages: 96 KB (dps.md 8.6); the hub's registry calls carry up to 100 items. */
  dpsBodyBytes: 96 * 1024,
  hubBodyBytes: 1024 * 1024,
  /** Chunks, or network reads, of one body: 4 MB in packets of a slow network, or a chunk for each line of an import. */
  httpBodyPieces: 8_192,
  httpHeadersMs: 10_000,
  httpRequestMs: 30_000,
  httpKeepAliveMs: 75_000,

  // --- MQTT
  /** Largest packet before CONNECT was accepted: client id, user name, a SAS token, a will. */
  mqttConnectBytes: 16 * 1024,
  /** Largest packet after: 256 KB of telemetry (hub-device.md 5.1) plus its topic. */
  mqttPacketBytes: 256 * 1024 + 64 * 1024 + 5,
  /** Largest packet between an accepted CONNECT and proof: a DPS register message (96 KB, dps.md 8.6) and its topic. */
  mqttUnprovedPacketBytes: 96 * 1024 + 4 * 1024,
  telemetryMessageBytes: 256 * 1024,
  /** Keep-alive above this counts as this; so does 0 (hub-device.md 2.1). */
  mqttKeepAliveSeconds: 1_177,
  /** A timer that is so late, or early, by the machine's clock means that the clock was set. */
  clockStepMs: 5_000,
  mqttSubscriptions: 50,
  /** Packets of one session waiting for their commit before its socket is paused. */
  mqttInFlight: 256,
  /** Their payloads together (bytes); one packet is always let through. */
  mqttInFlightBytes: 1024 * 1024,
  /** A DPS request of QoS 0 is answered no sooner: its client may not be waiting yet. As long as a network takes. */
  dpsAnswerAfterMs: 100,
  /** QoS 1 messages of one session that the client has not acknowledged before it is cut. */
  mqttUnacknowledged: 1_024,
  /** Bytes of one session waiting to be sent before it is cut. */
  mqttOutgoingBytes: 1024 * 1024,

  // --- WebSockets
  /** One message of a client: its largest MQTT packet, and what it sends along. */
  webSocketMessageBytes: 512 * 1024,
  /** Frames of one message, and pieces in which one frame arrives: `ws` keeps an object for each, however little it holds. */
  webSocketPieces: 1_024,
  /**
   * All that a client may send before it has proved who it is: a CONNECT and a DPS register message, framing included.
   * Frames are put together before anybody looks into them, so that the limits of their content come too late.
   */
  webSocketUnprovedBytes: 128 * 1024,

  // --- documents
  idLength: 128,
  statusReasonLength: 128,
  tagsBytes: 8 * 1024,
  desiredBytes: 32 * 1024,
  reportedBytes: 32 * 1024,
  /** A section of a twin as JSON text. With its metadata a twin still fits into the store, and without into one answer. */
  twinTextBytes: 128 * 1024,
  twinDepth: 10,
  twinKeyBytes: 1024,
  twinStringBytes: 4 * 1024,
  modulesPerDevice: 50,
  /** `ms-azure-iot-edge://{deviceId}-{generationId}`. */
  scopeLength: 256,
  /** Edge devices below one another (hub-service.md 2.5). */
  edgeLayers: 5,

  // --- lists and bulk
  enrollmentPage: 1_000,
  enrollmentBulk: 10,
  deviceList: 1_000,
  deviceBulk: 100,

  // --- bulk imports (control/imports)
  /**
   * Lines of one request; and bytes, which lines of ordinary size stay far below. They share one commit, as far as the
   * next two limits let them: with 160 lines a commit a million devices were imported at 13,800 a second, with 2,000 at
   * 20,000 and more (bench/fleet.ts). Other changes wait for one such commit: 33 ms meanwhile (p99 170) in place of 9 (64).
   */
  importBatchLines: 2_000,
  importBatchBytes: 4 * 1024 * 1024,
  /** One line: a device with tags and both property sections at their largest, metadata included. */
  importLineBytes: 512 * 1024,
  /** Lines, and bytes of them, that share one commit at most. */
  importChunkLines: 2_000,
  importChunkBytes: 2 * 1024 * 1024,
  /** Lines that are read, or judged, before other requests get a turn. */
  importTurnLines: 100,
  /** Requests of one import that wait for the lines before theirs, and how long. */
  importWaiting: 8,
  importTurnMs: 10_000,
  /** Lines put off that one request judges again. */
  importLaterLines: 500,
  /** Characters of one message of a report. */
  importMessageLength: 600,
  /** Entries of the failures' log that one answer brings. */
  importFailurePage: 20,
  /** Devices, or enrollments, of one answer of an export. */
  exportPage: 200,
  /** Devices that are read at a time, and bytes of lines after which an answer ends early: modules have twins as well. */
  exportStep: 20,
  exportPageBytes: 8 * 1024 * 1024,
  /** Unfinished imports of one hub or provisioning service, and how long one that nobody goes on with is kept. */
  imports: 100,
  importKeptMs: 30 * 24 * 60 * 60 * 1000,

  // --- instances (dps.md 8.6, hub-service.md 1.1)
  enrollmentGroups: 200,
  caCertificates: 25,
  linkedHubs: 50,
  policies: 16,
  /** Of a hub's policies, those with ServiceConnect. */
  serviceConnectPolicies: 10,
  policyNameLength: 64,
  policyKeyBytes: 32,
  certificateNameLength: 64,
  /** Bytes of randomness in a verification code; 48 hex digits on the wire (dps.md 7.3). */
  verificationCodeBytes: 24,
  /** Provisioning services, and hubs, per installation. */
  instances: 100,
  hostNames: 16,
  hostNameLength: 260,
  connectionStringLength: 1_024,
  locationLength: 64,
  instanceTags: 50,
  instanceTagNameLength: 512,
  instanceTagValueLength: 256,
  hubPartitions: 32,
  hubPartitionsDefault: 4,
  /** Units of a hub's price tier; kept and shown only. */
  hubUnits: 200,
  hubRetentionDays: 7,
  managementBodyBytes: 128 * 1024,
  /** How often a change is judged again because another writer came between. */
  commitAttempts: 8,
  certificateBytes: 16 * 1024,

  // --- keys and tokens
  /** Decoded bytes of a symmetric key (dps.md 1.8). */
  keyBytesLeast: 16,
  keyBytes: 64,
  /** Characters of a SAS token: a doubly encoded resource with ids of 128 characters has room. */
  sasTokenLength: 4_096,

  // --- chain validation (attestation-crypto.md B4)
  /** Certificates of a path, leaf and anchor included. */
  chainDepth: 8,
  chainSignatureChecks: 200,
  /** Of them, failed ones with issuers that were only presented: 2 ms each with a key on P-521, and strangers bring them. */
  chainMisses: 10,
  /** Remembered positive signature checks. */
  chainVerdicts: 10_000,
  /** Remembered issuers, parsed, with their public keys. */
  chainIssuers: 1_000,
  /** Bits of an RSA key that may stand in a chain. */
  rsaKeyBitsLeast: 2_048,
  /** Bits of an RSA key, and bytes of its exponent, that signatures are checked with: strangers choose them, too. */
  rsaKeyBitsMost: 8_192,
  rsaExponentBytes: 4,
  /** Complete paths judged for one leaf; more than one needs cross-signed authorities. */
  chainPaths: 8,
  /** Names of one certificate times name constraints of one authority. */
  nameConstraintChecks: 4_096,
  /** Certificates in one uploaded text. */
  certificatesPerText: 20,

  // --- TPM 2.0
  /** TPM2B_PUBLIC of an RSA key of 4096 bits has 572 bytes. */
  tpmPublicBytes: 1_024,
  /** Text inside an activation blob: over AMQP the blob has to fit two SASL frames (attestation-crypto.md A4). */
  tpmUriBytes: 150,
  /** How long a device may take to sign with the key of its challenge; polls of what it opened may come later. */
  tpmChallengeMs: 10 * 60 * 1000,
  /** A device that begins again within gets the same key again, and a key that was replaced is good for so long. */
  tpmChallengeRepeatMs: 60 * 1000,
  /** Keys of one device at a time: the newest, and those that it replaced a moment ago. */
  tpmChallengesPerDevice: 4,
  /** How often challenges that have run out are deleted, and how many at a time. */
  tpmChallengeSweepMs: 60 * 1000,
  tpmChallengeSweep: 200,
  /** A TPM answers within: making an RSA key takes a slow chip many seconds. */
  tpmAnswerMs: 120_000,
  /** A TPM's largest answer, as the kernel's buffer has it. */
  tpmAnswerBytes: 4_096,

  // --- registration
  operationHistoryMs: 60 * 60 * 1000,
  /** Replaced operations of a registration that may still be asked after. */
  earlierOperations: 8,
  /** Registrations of a node that wait to be assigned, if not set; above it register is told to come back, polls never. */
  assignmentBacklog: 10_000,
  /** Most seconds of a retry-after that clients heed (C, dps.md 1.10). */
  retryAfterSeconds: 300,
  /** Most seconds that devices that find no room are spread over, and how often the pace of a node is measured. */
  throttleSpreadSeconds: 120,
  throttleMeasureMs: 5_000,
  assignmentsAtOnce: 128,
  /** One that takes longer waits for somebody else's webhook or hub, and makes room for the next; so many at most. */
  assignmentSlowMs: 1_000,
  assignmentsSlow: 512,
  /** What the register request had read is used without reading it again within. */
  assignmentFreshMs: 1_000,
  /** Tries of one assignment when a hub does not answer, and the pause after the first; it doubles. */
  assignmentAttempts: 5,
  assignmentRetryMs: 1_000,
  /** Another node takes an assignment over when it is this late. */
  assignmentGraceMs: 30_000,
  /** How often a node looks for assignments that nobody finished, and how many it takes at once. */
  assignmentSweepMs: 5_000,
  assignmentSweep: 200,
  enrollmentQueryLength: 4_096,

  // --- decision traces (provisioning/attempts)
  /** Refused attempts that a node remembers. */
  attemptEntries: 2_000,
  /** Of them, so many of one source address, and so many for one registration id. */
  attemptsPerSource: 200,
  attemptsPerRegistration: 10,
  /** JSON bytes of one trace; a longer one is shortened. */
  attemptBytes: 6 * 1024,
  /** Characters of one text in a trace: names and resources are the sender's. */
  attemptTextLength: 300,
  /** Steps, and keys that were tried and are named one by one, of a trace. */
  attemptSteps: 32,
  attemptKeys: 8,
  /** How long the other nodes are waited for when somebody asks for traces. */
  attemptAnswerMs: 150,
  /** Traces that one question brings together. */
  attemptAnswers: 50,

  // --- calls to webhooks and linked hubs
  /** From the look-up of the name to the last byte of the answer; the real service's is not known (dps.md 5.5). */
  outboundMs: 10_000,
  webhookUrlLength: 2_048,
  /** What a webhook answers: a host name, a twin, a payload that a device message has room for. */
  webhookAnswerBytes: 96 * 1024,
  /** Levels of a payload on its way between device and webhook. */
  payloadDepth: 64,
  /** What a linked hub answers: at most a twin with the metadata of every member. */
  linkedHubAnswerBytes: 4 * 1024 * 1024,
  /** Validity of the tokens that are shown to linked hubs, as the SDKs'. */
  linkedHubTokenSeconds: 600,
  /** Characters of a stranger's answer that the log repeats. */
  answerExcerpt: 500,

  // --- time (hub-device.md 1.1: accepted up to 5 minutes late at connect, cut 10 minutes late)
  tokenSkewMs: 5 * 60 * 1000,
  sessionTokenGraceMs: 10 * 60 * 1000,

  // --- store
  /** Expectations, puts, deletes, appends and enqueues of one commit: all lines of one request of an import. */
  storeBatch: 6_500,
  /** Rows that share one transaction of the writer, each 4 KiB of a value counting as one; more only where one commit has more. */
  storeGroup: 500,
  storeValueBytes: 2 * 1024 * 1024,
  storeIdLength: 1_024,
  /** Items of one page, and bytes after which it ends early. */
  storePage: 1_000,
  storePageBytes: 8 * 1024 * 1024,
  /** Rows of one handle that wait for the writer, each 4 KiB of a value counting as one; more are refused as busy. */
  storeWaiting: 50_000,
  /** Trimmed log entries, and bytes of theirs, that are swept out in one step, and the pause before the next. */
  storeSweep: 250,
  storeSweepBytes: 2 * 1024 * 1024,
  storeSweepPauseMs: 10,
  /**
   * Rows written, roughly, after which the log is copied into the file by a thread beside the writer. Often and little:
   * with 5,000 rows p99 of an update among a million devices was 8 to 147 ms, with 1,000 it was 9 to 11 (bench/fleet.ts).
   */
  storeCheckpointRows: 1_000,
  /** Pages of the log, 4 KiB each, after which the writer does it itself: alone, and with the thread to help it. */
  storeLogPages: 4_000,
  storeLogPagesAtMost: 32_000,
  /**
   * What the log's file keeps on the disk when it begins anew: all that it can have taken, a large commit included. A file
   * that is cut and grows again costs an import of a million devices a tenth of its speed (bench/fleet.ts).
   */
  storeLogFileBytes: 160 * 1024 * 1024,
  /** Clients are told to come back so long after a change that the store could not take (a full disk). */
  storeRetrySeconds: 10,
  /** Logs whose end the writer remembers. */
  storeLogHeads: 10_000,
  // --- hub
  /** A process that has not prolonged its lease for so long has no connections any more; prolonged three times as often. */
  nodeLeaseMs: 15_000,
  /** Other processes whose leases are remembered. */
  knownNodes: 1_000,
  /** Connection states and activity times are written at least so often, so many at a time. */
  sessionFlushMs: 5_000,
  sessionFlushBatch: 200,
  /** The activity time of a connection that lives is written so often. */
  activityWriteMs: 60_000,
  /** Entries of the change sequence that are read at a time, and how long they are kept. */
  changeBatch: 500,
  changeRetentionMs: 60 * 60 * 1000,
  /** Telemetry and the change sequence are trimmed so often. */
  retentionSweepMs: 5 * 60 * 1000,
  messageIdLength: 128,
  modelIdLength: 2_048,

  /** Characters of a hint on the bus; a longer one is lost, as any hint may be. */
  busHintLength: 64 * 1024,
  /** Every node has re-checked its live sessions against the change sequence at the latest after. */
  sessionRecheckMs: 2_000,

  // --- test kit and seed file
  /** A test waits so long for telemetry unless it says otherwise. */
  testEventsMs: 5_000,
  seedBytes: 16 * 1024 * 1024,

  // --- threads
  /** A dead worker thread is replaced after. */
  threadRestartMs: 100,
  /** A worker thread that was told to stop is ended after. */
  threadStopMs: 20_000,

  // --- operation
  /** Characters of one text of a log line, causes of faults apart. */
  logTextLength: 600,
  /** Label values of one metric; beyond them all are counted as `other`. */
  metricSeries: 300,
  /** How long the threads are waited for when somebody asks for metrics. */
  metricsAnswerMs: 500,
  /** Ended threads whose counts are kept one by one; those of older ones are kept as their sum. */
  metricSources: 256,
  /** How often the writers are asked whether they can write, and how long they may take to answer. */
  healthCheckMs: 5_000,
  healthAnswerMs: 5_000,
  /** Characters of a path that a caller names. */
  pathLength: 4_096,
  /** Pages of a database that are copied in one step of a backup. */
  backupStepPages: 512,
  /** Bytes of a backup's list of files. */
  backupManifestBytes: 64 * 1024,
  /** Whoever waits for a backup is told after so long how far it is. */
  backupPollMs: 500,
  /** Versions that a restored store leaves out, so that none is given twice after what the backup missed. */
  restoreVersionLeap: 1_000_000_000,

  /** Connections of the management API at once. */
  managementConnections: 64,
  /** Events of one read over the management API. */
  eventPage: 1_000,

  // --- command line
  /** A command gives up on a silent service after. */
  cliRequestMs: 30_000,
  cliAnswerBytes: 64 * 1024 * 1024,
  /** Certificates, keys, JSON documents that a command reads. */
  cliFileBytes: 1024 * 1024,
  /** A JSON array that is imported is read whole; JSON lines and CSV are not. */
  cliArrayBytes: 256 * 1024 * 1024,
  /** Requests of one import under way at once. */
  cliImportsAtOnce: 3,
  /** Lines of one request, in bytes, unless one line is longer. */
  cliImportBatchBytes: 1024 * 1024,
  /** Lines that a command itself finds unreadable before it gives up on the file. */
  cliImportProblems: 10_000,
  /** Failures that are shown where there is no report. */
  cliImportShown: 10,
  /** Progress is written this often: to a terminal, to a file. */
  cliProgressMs: 200,
  cliProgressPlainMs: 5_000,
  /** Validity of the tokens that commands sign, as the az CLI's (dps.md 6.7). */
  cliTokenSeconds: 600,
  /** Characters of a `--query`. */
  cliQueryLength: 4_096,
} as const
