// Package v2 stands where Grafana's schema of that version would be, which no module proxy serves
// as a module: it knows the names that the linter uses for dashboards of that schema. Those here
// have the classic one.
package v2

type DashboardSpec struct {
	Title       string
	Editable    *bool
	Elements    map[string]DashboardElement
	Variables   []DashboardVariableKind
	Annotations []DashboardAnnotationQueryKind
}

type (
	DashboardElement   struct{ PanelKind *DashboardPanelKind }
	DashboardPanelKind struct{ Spec DashboardPanelSpec }
	DashboardPanelSpec struct {
		Id                 float64
		Title, Description string
		VizConfig          struct {
			Group string
			Spec  struct{ FieldConfig, Options any }
		}
		Data struct {
			Spec struct{ Queries []DashboardPanelQueryKind }
		}
	}
	DashboardPanelQueryKind struct {
		Spec struct {
			RefId  string
			Hidden bool
			Query  DashboardDataQueryKind
		}
	}
	DashboardDataQueryKind struct {
		Group      string
		Datasource *struct{ Name *string }
		Spec       map[string]any
	}
	DashboardAnnotationQueryKind struct {
		Spec struct {
			Name  string
			Query DashboardDataQueryKind
		}
	}
)

type DashboardVariableRefresh string

const (
	DashboardVariableRefreshOnTimeRangeChanged DashboardVariableRefresh = "onTimeRangeChanged"
	DashboardVariableRefreshOnDashboardLoad    DashboardVariableRefresh = "onDashboardLoad"
)

type (
	Variable struct {
		Spec struct {
			Name, PluginId  string
			Label, AllValue *string
			Multi           bool
			Refresh         DashboardVariableRefresh
			Query           string
		}
	}
	QueryVariable struct {
		Spec struct {
			Name            string
			Label, AllValue *string
			Multi           bool
			Refresh         DashboardVariableRefresh
			Query           DashboardDataQueryKind
		}
	}
)

type DashboardVariableKind struct {
	QueryVariableKind *QueryVariable

	DatasourceVariableKind, CustomVariableKind, IntervalVariableKind, ConstantVariableKind, TextVariableKind, AdhocVariableKind,
	GroupByVariableKind, SwitchVariableKind *Variable
}
