// Package remedy turns alerts into safe actions.
//
// An alert is on disk before it is accepted. One loop then decides about it in three stages: resolve
// finds the one target and action, escalate replaces an action that did not help, and the guards
// each pass or refuse. What is wanted of the target (running now, or again after a back-off) is on
// disk before the first call to Docker; the reconciler takes the next step towards it from what is
// observed, which is the same code for an action in progress and for one that an earlier process
// left unfinished.
//
// The package judges only whether an action is safe, never whether it is wanted: that is said by the
// labels of the rule. Labels of an alert are claims. What may be done to a container is said by the
// container's own label ghostrunner.heal.
//
// Promises:
//
//   - No job is killed: a runner is drained, and stopped only while no worker process is in it.
//   - Nothing without the label is touched, and no volume or network ever.
//   - A container that was stopped is started again, also after kill -9.
package remedy
