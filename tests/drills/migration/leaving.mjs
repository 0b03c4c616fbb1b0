export async function archive() {}
export async function leaveLogto() {}
export async function verify() {}
