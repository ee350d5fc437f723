package remedy

import "context"

// guardAction finds the action that the alert asks for. A name that this program
// does not know is refused as untrusted_label: the label is input, and a wrong
// one is more likely a mistake in a rule than a permission that is missing.
func (r *Remediator) guardAction(_ context.Context, p *Plan) Verdict {
	for _, a := range r.actions {
		if a.Name == p.Alert.Remediation() {
			p.Action = a
			return pass("")
		}
	}
	return refuse(UntrustedLabel, "label remediation names no action: "+p.Alert.Remediation())
}
