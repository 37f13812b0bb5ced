/** Why a row cannot be used; the words under which rejected rows are counted. */
export type RejectionReason =
  | 'malformed_json'
  | 'invalid_utf8'
  | 'line_too_long'
  | 'not_an_object'
  | 'unknown_format'
  | 'invalid_field'
  | 'invalid_roles'
  | 'empty_row'
  | 'empty_answer'
  | 'template_refused'
  | 'loss_span_not_found'
  | 'nothing_to_train'
  | 'too_long'
  | 'not_encodable'

/** Thrown while one row is read or encoded; never leaves the package, it becomes a rejected row. */
export class RowProblem extends Error {
  readonly reason: RejectionReason

  constructor(reason: RejectionReason, message: string) {
    super(message)
    this.name = 'RowProblem'
    this.reason = reason
  }
}
