// Package conformance makes a program of the Gateway API's conformance suite. What it runs and what it reports about
// whom is said by the suite's own flags: `cargo xtask conformance` gives them.
package conformance

import (
	"testing"

	"sigs.k8s.io/gateway-api/conformance"
)

// TestConformance runs every test of the suite that the given profiles and features admit.
func TestConformance(t *testing.T) {
	conformance.RunConformance(t)
}
