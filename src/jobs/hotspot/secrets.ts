import { randomBytes } from 'node:crypto';

// No 0 and o, 1 and l and i, 2 and z, 5 and s, 8 and b, 9 and g and q at once, no m that reads as rn, no w that reads as vv.
// No vowels either, so no words.
const LETTERS = '34679cdfhjknprtvxy';

// 18 characters are 4.17 bits each: 41 bits in the password. Usernames need not be secret, only rarely alike.
const PASSWORD_LENGTH = 10;
const USERNAME_LENGTH = 8;

// Values of a byte that the letters cannot be dealt out to evenly are passed over: then all are equally likely.
const FAIR = 256 - (256 % LETTERS.length);

// Fetched many at a time: ten thousand payments at once need 180,000.
let random = Buffer.alloc(0);
let used = 0;

function characters(count: number): string {
  let text = '';
  while (text.length < count) {
    if (used === random.length) {
      random = randomBytes(4096);
      used = 0;
    }
    const byte = random[used++]!;
    if (byte < FAIR) text += LETTERS[byte % LETTERS.length];
  }
  return text;
}

export const newPassword = (): string => characters(PASSWORD_LENGTH);
export const newUsername = (): string => characters(USERNAME_LENGTH);
