import assert from 'node:assert/strict';
import { test } from 'node:test';
import { changes, compare } from '../calendar.ts';
import { database } from '../harness.ts';

const ZONES = [
  ...['Africa/Cairo', 'Africa/Casablanca', 'Africa/El_Aaiun', 'Africa/Juba', 'Africa/Nairobi', 'America/Asuncion'],
  ...[
    'America/Havana',
    'America/New_York',
    'America/Nuuk',
    'America/Santiago',
    'America/Sao_Paulo',
    'America/Scoresbysund',
  ],
  ...[
    'America/St_Johns',
    'Antarctica/Casey',
    'Antarctica/Troll',
    'Asia/Amman',
    'Asia/Beirut',
    'Asia/Gaza',
    'Asia/Kathmandu',
  ],
  ...['Asia/Pyongyang', 'Asia/Tehran', 'Australia/Adelaide', 'Australia/Lord_Howe', 'Europe/Berlin', 'Europe/Dublin'],
  ...['Europe/Istanbul', 'Europe/Volgograd', 'Pacific/Apia', 'Pacific/Chatham', 'Pacific/Easter', 'Pacific/Fiji'],
];

test('scheduler.instant agrees with the offsets of luxon around every change of 31 zones from 2020 to 2035', async (t) => {
  await using db = await database();
  let compared = 0;
  for (const zone of ZONES) {
    compared += await compare(db, zone, changes(zone, Date.UTC(2020, 0, 1), Date.UTC(2036, 0, 1)));
  }
  t.diagnostic(`${compared} times`);
  assert.ok(compared > 10_000);
});
