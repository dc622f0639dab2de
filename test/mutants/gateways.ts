import { inFile, type Mutant } from './mutant.ts';

export const GATEWAYS: Mutant[] = [
  ...inFile('src/jobs/hotspot/attempts.ts', 'jobs/hotspot/credentials#a passing refusal', [
    ['export const ATTEMPTS = 3;', 'export const ATTEMPTS = 4;'],
    ['then ${it[attempts]} = read.attempt end', 'then true end', 'jobs/hotspot/late-actors#the answer to an SMS'],
    [
      'for (const item of [...before, ...left])',
      'for (const item of before)',
      'jobs/hotspot/credentials#a gateway that is down',
    ],
    [
      'claimed.filter((item) => !spared.has(to(item)))',
      'claimed',
      'jobs/hotspot/credentials#waited for a long Retry-After',
    ],
  ]),
  ...inFile('src/jobs/hotspot/credentials.ts', 'jobs/hotspot/credentials#whose access is over', [
    ["sms_status in ('sending', 'unknown') then 'unknown'", "sms_status in ('sending') then 'unknown'"],
    ["then now end',\n    plain_password: 'null',", "then now end',"],
    [
      "r.kind in ('refused', 'unknown') and r.attempt",
      "r.kind in ('refused') and r.attempt",
      'jobs/hotspot/credentials#an outcome that is unknown',
    ],
    [
      "r.kind in ('sent', 'logged', 'rejected') or",
      "r.kind in ('sent', 'logged') or",
      'jobs/hotspot/credentials#a permanent refusal',
    ],
    [
      "case kind when 'sent' then :now",
      "case kind when 'logged' then :now",
      'jobs/hotspot/credentials#the stored password is wiped',
    ],
    [
      "final and kind not in ('sent', 'logged') then :now",
      'false then :now',
      'jobs/hotspot/credentials#as long as its access',
    ],
    ['FAULTS_IN_A_ROW = 5', 'FAULTS_IN_A_ROW = 1', 'jobs/hotspot/credentials#one fault of the gateway'],
    [
      'faults = isFault ? faults + 1 : 0;',
      'faults += isFault ? 1 : 0;',
      'jobs/hotspot/credentials#one fault of the gateway',
    ],
    [
      "outcome.kind === 'refused' && !outcome.ofRecipient",
      "outcome.kind === 'refused'",
      'jobs/hotspot/credentials#though each twentieth',
    ],
    ['secs => coalesce(read.wait, 0)', 'secs => 0', 'jobs/hotspot/credentials#waited for a long Retry-After'],
    ['outside: { prepare: smsGateway, perform', 'outside: { perform', 'jobs/hotspot/credentials#settings that lack'],
  ]),
  ...inFile('src/jobs/hotspot/disconnects.ts', 'jobs/hotspot/disconnects#has ended by itself', [
    ["if (over) return goOn('disconnected'", "if (!over) return goOn('disconnected'"],
    [
      "if (back) return goOn('cancelled'",
      "if (!back) return goOn('cancelled'",
      'jobs/hotspot/disconnects#has access again',
    ],
    ['(found[n] as string[]).includes(nas)', 'true', 'jobs/hotspot/disconnects#under a host name'],
    ['wait: pauseAfter(attempt)', 'wait: 0', 'jobs/hotspot/disconnects#a router that is silent'],
  ]),
  ...inFile('src/jobs/hotspot/secrets.ts', 'jobs/hotspot/secrets', [
    ["'34679cdfhjknprtvxy'", "'34679cdfhjkmnprtvxy'"],
    ['characters(10)', 'characters(9)'],
    ['characters(8)', 'characters(5)'],
  ]),
  ...inFile('src/jobs/hotspot/settings.ts', 'jobs/hotspot/sms#a setting that is not usable', [
    [
      "valid: 'a URL such as https://example.com/sms',\n    secret: true",
      "valid: 'a URL such as https://example.com/sms',\n    secret: false",
    ],
    ["3799, 1, 65_535, 'a port'", "3799, 0, 65_536, 'a port'", 'base/settings'],
    ["value(name) === ''", "value(name) !== ''", 'jobs/hotspot/sms#names every setting'],
  ]),
  ...inFile('src/jobs/hotspot/sms/africastalking.ts', 'jobs/hotspot/sms#is accepted', [
    ['const ACCEPTED = [100, 101, 102];', 'const ACCEPTED = [100, 101];'],
    ['NO_ROUTE = 407', 'NO_ROUTE = 408', 'jobs/hotspot/sms#CouldNotRoute'],
    ['  409, // the user wants none of the kind\n', '', 'jobs/hotspot/sms#DoNotDisturb'],
    ['if (status === 401) return', 'if (status === 402) return', 'jobs/hotspot/sms#a refused API key'],
    [
      'if (!Array.isArray(Recipients))',
      'if (Array.isArray(Recipients))',
      'jobs/hotspot/sms#says nothing of the message',
    ],
  ]),
  ...inFile('src/jobs/hotspot/sms/pausing.ts', 'jobs/hotspot/credentials#a short Retry-After', [
    ['pauseOf(outcome) > SHORT_PAUSE_SECONDS', 'true'],
  ]),
  ...inFile('src/jobs/hotspot/sms/send.ts', 'jobs/hotspot/sms#in the international form', [
    ["answer.left ? 'unknown' : 'refused'", "'refused'", 'jobs/hotspot/sms#in time'],
    ['/^\\+?\\d{5,15}$/', '/^[+\\d,;]{5,60}$/', 'strangers/values#goes to one number'],
    ['seconds || 0, 0), LONGEST_WAIT', 'seconds || 0, 0), 1_000_000', 'jobs/hotspot/sms#Retry-After is read'],
    ["replace(/^00(?=[1-9])/, '+')", "replace(/^0/, '+')"],
    ['/^[1-9]\\d{7,14}$/', '/^\\d{7,14}$/'],
  ]),
  ...inFile('src/jobs/hotspot/sms/twilio.ts', 'jobs/hotspot/sms#error', [
    ["  21614: 'not a mobile number',\n", ''],
    ["  21612: 'the sender cannot reach that number',\n", ''],
    ['/^(SM|MM)\\w+$/', '/^/', 'jobs/hotspot/sms#own acceptance'],
    ['&& isOneOf(ACCEPTED, fate)', '', 'jobs/hotspot/sms#own acceptance'],
    ['if (ok && isOneOf(REFUSED, fate))', 'if (false)', 'jobs/hotspot/sms#took and could not deliver'],
  ]),
  ...inFile('src/jobs/hotspot/sms/webhook.ts', 'jobs/hotspot/sms#of a webhook means', [
    ['if (ok && isPage)', 'if (false)', 'jobs/hotspot/sms#own acceptance'],
    ['408, 425, 429]', '408, 425]'],
    ['[401, 403, 404,', '[401, 403,'],
    ['status >= 400 && status < 500', 'status >= 400 && status < 600', 'jobs/hotspot/sms#worth another try'],
    ['`${time}.${reference}.${body}`', '`${time}.${body}`', 'jobs/hotspot/sms#whose signature covers'],
    ['Date.now() / 1000', 'Date.now()', 'jobs/hotspot/sms#whose signature covers'],
  ]),
  ...inFile('src/jobs/hotspot/radius/client.ts', 'jobs/hotspot/radius#NAK 503 counts', [
    ['SESSION_NOT_FOUND = 503', 'SESSION_NOT_FOUND = 504'],
    ['timeoutMs: 300, tries: 3', 'timeoutMs: 300, tries: 2', 'jobs/hotspot/disconnects#a router that is silent'],
    ['&& from.port === port ', '', 'jobs/hotspot/radius#from elsewhere'],
    ['port < 1 || port > 65535', 'port > 65535', 'jobs/hotspot/radius#cannot be sent says'],
  ]),
  ...inFile('src/jobs/hotspot/radius/packet.ts', 'jobs/hotspot/radius#cannot be sent says', [
    ['bytes.length > LONGEST_VALUE', 'bytes.length >= LONGEST_VALUE'],
    ['bytes.length === 0 || ', ''],
    [
      'Math.floor(now.getTime() / 1000)',
      'Math.floor(now.getTime() / 1000) + 3600',
      'jobs/hotspot/radius#names the session',
    ],
  ]),
];
