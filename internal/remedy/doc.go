// Package remedy turns alerts into safe actions.
//
// An alert arrives by Alertmanager's webhook and is on disk before it is
// answered. One worker then makes a [Plan] of it, asks the guards in their
// fixed order ([Remediator.Guards] is the list), and either refuses with one of
// the reasons of [Reason] or acts, verifies and writes the outcome down.
//
// The package judges only whether an action is safe, never whether it is
// wanted: which alert asks for which action is a label of the rule
// ("remediation"). Labels are input, never truth. What may be done to a
// container stands on the container itself ("ghostrunner.heal").
//
// What it promises, whatever happens to it in between:
//
//   - no job is cut: a runner is asked to drain and only stopped for good when
//     no worker process is left in it;
//   - nothing without the label is touched, no volume or network ever;
//   - a container that it stopped is started again, also after kill -9: the
//     intent is on disk before the first call, and the debt ([Debt]) stays there
//     until the container has been seen running.
package remedy
