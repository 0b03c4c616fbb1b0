// A clock that can be moved, inside one isolate or process: `Date`, and the clock of D1 as
// its statements ask for it. Timers go on as ever. Loaded beside a Worker, and by whoever
// moves the clocks of a sandbox (clock.mjs); nothing else has it.

const Real = globalThis.Date;
let aheadS = 0;

class MovedDate extends Real {
  constructor(...given) {
    if (given.length === 0) super(MovedDate.now());
    else super(...given);
  }
  static now() {
    return Real.now() + aheadS * 1_000;
  }
}

/** So many whole seconds ahead of the machine. */
export function moveClock(seconds) {
  globalThis.Date = MovedDate;
  aheadS = seconds;
}

export const movedBy = () => aheadS;
/** Milliseconds of the machine, whatever the clock shows. */
export const realNow = () => Real.now();

/** A statement by the moved clock. */
export const onTime = (sql) => (aheadS === 0 ? sql : sql.replace(/unixepoch\((?:'subsec')?\)/g, (clock) => `(${clock} + ${aheadS})`));
