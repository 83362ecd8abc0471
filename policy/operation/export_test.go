// What the tests see of the package beyond its interface.

package operation

// Load reads an index again.
var Load = load

// Parse reads the text of an index.
var Parse = parse
