// Package lab is the simulated outside world of ghostrunner's demo and tests: everything that is not on the machine, or
// cannot be run without an account. It holds
//
//   - a simulated GitHub (GitHub): the REST endpoints for self-hosted runners, the broker that a runner's listener polls,
//     a job queue, and the /lab/v1 control surface;
//   - a simulated listener (Listener) and its worker (Worker): they print, write and exit as actions/runner 2.336 does;
//   - an SNTP server (NTP) whose time can be wrong, and a stand-in for a database (Service) that can hang;
//   - a table of faults (Faults): named switches that break this world in the ways in which the real one breaks.
//
// Why simulate at this depth: a fake that answers politely proves nothing. What ghostrunner has to survive is in the
// details (stderr instead of stdout, a recovery that prints nothing, a 404 that means 403), so the details are here, each
// with the place that it was taken from. Paths such as BML:278-385 are those of the actions/runner source tree:
// BML BrokerMessageListener.cs, ML MessageListener.cs, R Runner.cs, P Program.cs, JD JobDispatcher.cs, T Terminal.cs,
// HTL HostTraceListener.cs.
//
// No product binary may import this package.
package lab
