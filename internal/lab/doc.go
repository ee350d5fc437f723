// Package lab simulates the outside world for ghostrunner's demo and tests: everything that is not
// on the machine, or that cannot be run without an account. It contains
//
//   - a simulated GitHub (GitHub): the REST endpoints for self-hosted runners, the broker that a
//     runner's listener polls, a job queue, and the /lab/v1 control API;
//   - a simulated listener (Listener) and its worker (Worker): they print, write and exit as
//     actions/runner 2.336 does;
//   - an SNTP server (NTP) whose time can be wrong, and a stand-in for a database (Service) that
//     can hang;
//   - a table of faults (Faults): named switches that break this world as the real one breaks.
//
// The details matter: stderr instead of stdout, a recovery that prints nothing, a 404 that means
// 403. Each one names its source. Paths such as BML:278-385 are those of the actions/runner source
// tree: BML BrokerMessageListener.cs, ML MessageListener.cs, R Runner.cs, P Program.cs, JD
// JobDispatcher.cs, T Terminal.cs, HTL HostTraceListener.cs.
//
// No product binary may import this package.
package lab
