import { CairnError } from '@cairn/contract';

/**
 * The location of an image: a file, or part of a tar. Paths are relative to the root, as in lists. `fileBytes` and `fileChangedMs` are
 * those of the file or tar during `prepare`: null if it did not exist, absent if the list does not have them.
 */
export type ImageLocation = {
  path: string;
  tar?: string | null | undefined;
  offset?: number | null | undefined;
  size?: number | null | undefined;
  fileBytes?: number | null | undefined;
  fileChangedMs?: number | null | undefined;
};

/** Why an image is unavailable, if the fault is the image's and not the machine's. */
export type ImageRejection = 'missing' | 'empty' | 'truncated' | 'not_a_file' | 'no_permission' | 'too_large';

export type ImageReader = {
  /** Which images are read next, in this order: those in tars of a source are requested in large ranges ahead. Replaces an earlier plan. */
  plan(images: readonly ImageLocation[]): void;
  /**
   * The bytes of an image file, undecoded.
   *
   * @throws ImageUnavailable if this image is unavailable; CairnError `invalid_path` if its path would leave the root,
   *   `folder_not_allowed` if a link leads elsewhere, `dataset_changed` if the file has changed since `prepare`, `storage_failed`
   *   for a machine fault, such as a missing root (a retry may help); the signal's reason.
   */
  read(image: ImageLocation, signal?: AbortSignal): Promise<Buffer>;
  /**
   * Requests that each read several images of a tar of a source, and not yet sent. None for images of folders, or without a valid size:
   * these are for {@link ImageReader.read}.
   */
  ranges(images: readonly ImageLocation[]): { images: readonly ImageLocation[]; read(signal: AbortSignal): Promise<Buffer[]> }[];
  close(): Promise<void>;
};

/** A single image is unavailable. The extraction records the reason and continues. */
export class ImageUnavailable extends CairnError {
  readonly reason: ImageRejection;

  constructor(reason: ImageRejection, message: string, path: string, cause?: unknown) {
    super('missing_file', message, { details: { path, reason }, cause });
    this.name = 'ImageUnavailable';
    this.reason = reason;
  }
}

/** No photograph is larger; a list with a wrong size must not exhaust memory. */
export const largestImageBytes = 256 * 1024 * 1024;
