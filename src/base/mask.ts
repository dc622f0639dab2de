/** +2547****678: enough to recognise a number one knows, too little to call it. */
export function maskPhone(phone: string): string {
  const digits = phone.replace(/\D/g, '');
  const plus = phone.trim().startsWith('+') ? '+' : '';
  if (digits.length >= 12) return `${plus}${digits.slice(0, 4)}****${digits.slice(-3)}`;
  if (digits.length >= 10) return `****${digits.slice(-3)}`;
  return digits.length >= 6 ? `****${digits.slice(-2)}` : '****';
}
