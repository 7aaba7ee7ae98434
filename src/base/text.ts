/** The text without the `character`s at its end. In one pass: /x+$/ begins anew at every x, so strangers' texts stop it. */
export function withoutEnd(text: string, character: string): string {
  let end = text.length
  while (end > 0 && text[end - 1] === character) end--
  return text.slice(0, end)
}
