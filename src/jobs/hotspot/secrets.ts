import { randomInt } from 'node:crypto';

// No 0 and o, 1 and l and i, 2 and z, 5 and s, 8 and b, 9 and g and q at once, no m that reads as rn, no w that reads as vv.
// No vowels either, so no words.
const LETTERS = '34679cdfhjknprtvxy';

const characters = (count: number) => Array.from({ length: count }, () => LETTERS[randomInt(LETTERS.length)]).join('');

// 18 characters are 4.17 bits each: 41 bits in the password. Usernames need not be secret, only rarely alike.
export const newPassword = (): string => characters(10);
export const newUsername = (): string => characters(8);
