export async function cutover() {}
export async function cutoverAgain() {}
export async function goBack() {}
export async function twoDays() {}
