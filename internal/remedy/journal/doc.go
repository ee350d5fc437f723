// Package journal is the memory of the remediator: alerts that wait for a decision, what was
// begun, done and refused, circuit breakers, and what is wanted of containers that were taken down.
//
// All of it changes through [Store.Update]: on disk first, in memory after that. What
// [Store.State] returns is the state of the last commit; it is never changed in place.
package journal
