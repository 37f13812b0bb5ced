/** Who speaks. `tool` carries the result of a function call. */
export type ChatRole = 'system' | 'user' | 'assistant' | 'tool'

/** A function call inside an assistant turn, as chat templates read it. */
export interface ToolCall {
  /** Names this call, so that the `tool` turn that answers it can refer to it. */
  readonly id?: string
  /** Kind of call; functions are the only one. */
  readonly type?: 'function'
  /** Which function is called, and with what. */
  readonly function: {
    /** Name of the function. */
    readonly name: string
    /** An object, or its JSON text. */
    readonly arguments: Readonly<Record<string, unknown>> | string
  }
}

/** A function the model may call: the JSON that templates print, usually `{ type: 'function', function: {…} }`. */
export type ToolDefinition = Readonly<Record<string, unknown>>

/** One turn of a chat. Names are those of the files and of chat templates, hence the underscores. */
export interface ChatMessage {
  /** Who speaks. */
  readonly role: ChatRole
  /** Text of the turn; empty when an assistant only calls functions. */
  readonly content: string
  /** Overrides the loss strategy for this turn: true trains it, false does not. */
  readonly loss?: boolean
  /** Weight of this turn's tokens in the loss, a finite number ≥ 0. Default 1. */
  readonly loss_scale?: number
  /** Thinking of an assistant that comes before `content`; templates of thinking models print it. */
  readonly reasoning_content?: string
  /** Functions that an assistant calls. */
  readonly tool_calls?: readonly ToolCall[]
  /** Of a `tool` turn: the call it answers. */
  readonly tool_call_id?: string
  /** Name of the speaker, or of the function that answered. */
  readonly name?: string
}

/** Where a row came from, so that every complaint can name it. */
export interface RowOrigin {
  /** The file as it was asked for. */
  readonly file: string
  /** First line of the row in the file, from 1; undefined for files that are not read by lines. */
  readonly line?: number
  /** Position of the row among the file's rows, from 0. */
  readonly index: number
}

/** One training example, whatever shape its file had. */
export interface Row {
  /**
   * `chat`: messages are rendered by the chat template. `text`: the only message is a document, which is used as it is.
   */
  readonly kind: 'chat' | 'text'
  /** The turns, in order. */
  readonly messages: readonly ChatMessage[]
  /** Functions the model may call. */
  readonly tools?: readonly ToolDefinition[]
  /** Variables of the chat template for this row alone, such as `enable_thinking`. */
  readonly chatTemplateVariables?: Readonly<Record<string, unknown>>
  /** All other columns, untouched: rewards and evaluations read them. */
  readonly columns: Readonly<Record<string, unknown>>
  /** Where the row came from. */
  readonly origin: RowOrigin
}
