//go:build race

package remedy

// slowdown divides what a test does by chance: the race detector makes it slower by about as much.
const slowdown = 20
