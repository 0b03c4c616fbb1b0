export async function evidence() {}
export async function ramp() {}
export async function signIn() {}
