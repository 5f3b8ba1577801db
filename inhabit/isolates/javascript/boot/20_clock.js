// Time stands still within a turn: the clock is the last delivery's. `performance.now` counts from the start.
let clockStart = 0;
const startClock = () => { clockStart = dateNow(); };
expose({ performance: freeze({ now() { return dateNow() - clockStart; }, get timeOrigin() { return clockStart; } }) });
