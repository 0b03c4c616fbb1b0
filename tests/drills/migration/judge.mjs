export const proveJudges = () => true;
export async function sumUp() {}
