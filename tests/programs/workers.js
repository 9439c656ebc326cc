const { Worker, isMainThread, parentPort } = require('worker_threads');
if (isMainThread) {
  let left = 3, sum = 0, ticks = 0;
  const timer = setInterval(() => ticks++, 1);
  for (let n = 0; n < 3; n++) {
    const worker = new Worker(__filename);
    worker.on('message', value => {
      sum += value;
      worker.terminate();
      if (!--left) { clearInterval(timer); console.log(sum, ticks > 0); }
    });
  }
} else {
  let x = 0;
  for (let i = 0; i < 1e7; i++) x = (x * 31 + i) % 1000003;
  parentPort.postMessage(x);
}
