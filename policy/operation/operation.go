// Package operation identifies the operations of the Veeam REST APIs and their classes.
//
// Clean must be applied to a path first. It refuses paths that servers interpret
// differently and normalizes the others. Lookup reads its result, and the same path
// must be sent to the server, so that the decision and the request cannot differ.
package operation

//go:generate go run ./gen

// Operation is one operation of a product's API.
type Operation struct {
	// Method is the HTTP method, in capitals.
	Method string

	// Path is the template of the path, with parameters in braces. {version}
	// stands for the version segment of products that have one.
	Path string

	// Query is the parameter that selects the operation among those of the path, such
	// as action=start. A value in braces stands for any. Empty where method and path
	// say it all.
	Query string

	// Name is the name in the product's API description, Group the area that
	// the description puts it into. Names are not always unique.
	Name, Group string

	// Class is the class. Where the versions of an API differ, it is the
	// strictest.
	Class Class

	// Versions are the versions of the index that have the operation, oldest
	// first. The slice is shared and must not be changed.
	Versions []string
}

// Target is Path, with Query behind a question mark if there is one.
func (op Operation) Target() string {
	if op.Query == "" {
		return op.Path
	}
	return op.Path + "?" + op.Query
}
